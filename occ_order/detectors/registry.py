"""Registry of the detector adapters, and the function that builds a detector."""

from __future__ import annotations

import functools
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from occ_order import model_zoo
from occ_order.backends import predictor
from occ_order.detectors.detector import Detector
from occ_order.detectors.of_file import build as build_of_file
from occ_order.detectors.sources import kind_of
from occ_order.instances import OrderedInstances


@dataclass(frozen=True)
class Choices:
    """Options of a detector.

    Attributes:
        weights: weights file; None = the detector's default.
        score_threshold: None = the detector's default.
        device: "cpu" or "cuda".
        backend: for models of the zoo, as for `occ_order.predictor`.
    """

    weights: str | None = None
    score_threshold: float | None = None
    device: str = "cpu"
    backend: str = "auto"

    def threshold(self, default: float) -> float:
        """Return the score threshold, or `default` if none was chosen."""
        return default if self.score_threshold is None else self.score_threshold


def of_zoo(name: str, chosen: Choices) -> Detector:
    """Build a detector from a model of the model zoo that detects instances."""
    finds = predictor(name, device=chosen.device, backend=chosen.backend)
    if finds.needs_masks:
        raise ValueError(f"{name!r} of the model zoo orders input masks and detects nothing")

    def find(pixels: np.ndarray, file_name: str | None) -> OrderedInstances:
        found = finds(pixels)
        if found.disparity is not None and not len(found):
            raise ValueError(f"{name!r} tells how far everything is, and finds no instances")
        return found.replace(image_id=0 if file_name is None else Path(file_name).stem)

    threshold = chosen.threshold(model_zoo.row(name).get("score_threshold", 0.0))
    return Detector(find, model_zoo.introduce(name), threshold)


def of_torchvision(name: str, chosen: Choices) -> Detector:
    """Build a Mask R-CNN of torchvision."""
    from occ_order.detectors.of_torchvision import build

    return build(name, chosen.weights, chosen.threshold(0.5), chosen.device)


def of_detectron2(config: str, chosen: Choices) -> Detector:
    """Build a model of Detectron2's model zoo."""
    from occ_order.detectors.of_detectron2 import build_of_zoo

    return build_of_zoo(config, chosen.weights, chosen.threshold(0.5), chosen.device)


def of_yaml(file: str, chosen: Choices) -> Detector:
    """Build a model from a YAML configuration of Detectron2, or of a project that extends it."""
    from occ_order.detectors.of_detectron2 import build_of_yaml

    return build_of_yaml(file, chosen.weights, chosen.threshold(0.5), chosen.device)


def of_lazy(file: str, chosen: Choices) -> Detector:
    """Build a model from a LazyConfig, which is executed as Python code."""
    from occ_order.detectors.of_detectron2 import build_of_lazy

    return build_of_lazy(file, chosen.weights, chosen.threshold(0.5), chosen.device)


def of_file(path: str, chosen: Choices) -> Detector:
    """Build a detector that reads detections from a file or folder."""
    return build_of_file(path, chosen.threshold(0.0))


ADAPTERS: dict[str, Callable[[str, Choices], Detector]] = {
    "zoo": of_zoo,
    "torchvision": of_torchvision,
    "detectron2": of_detectron2,
    "yaml": of_yaml,
    "lazy": of_lazy,
    "file": of_file,
}
"""Kind of `kind_of` -> function that builds the detector from its name or file."""

OWN_WEIGHTS = ("torchvision", "detectron2", "yaml", "lazy")
"""Kinds that accept a weights file."""


def build_detector(
    source: Any,
    *,
    weights: str | os.PathLike[str] | None = None,
    score_threshold: float | None = None,
    device: str = "cpu",
    backend: str = "auto",
) -> Detector:
    """Build a detector; those named by a string are cached.

    Args:
        source: a detector, see :mod:`occ_order.detectors`.
        weights: weights file, for torchvision and Detectron2; None = the default weights,
            downloaded if necessary.
        score_threshold: instances with a lower score are dropped; None = the detector's default:
            0.5 for torchvision and Detectron2, the listed one for a model of the zoo, else 0.
        device: "cpu" or "cuda".
        backend: for models of the zoo, as for `occ_order.predictor`.

    Raises:
        ValueError: unknown detector, or weights for one that accepts none; an invalid
            configuration or weights, or weights that do not fit the configuration.
        FileNotFoundError: a file does not exist, or weights cannot be downloaded.
        ImportError: a required package is not installed.
    """
    if isinstance(source, Detector):
        return source
    if callable(source):
        name = getattr(source, "__name__", type(source).__name__)
        about = f"the function {name} (trained on what its author says)"
        chosen = Choices(None, score_threshold, device)
        _check_weights(weights, about, known=False)
        return Detector(lambda pixels, _: source(pixels), about, chosen.threshold(0.0))
    if not isinstance(source, str | os.PathLike):
        raise ValueError(f"a detector is a name, a file or a function, got {type(source).__name__}")
    kind, rest = kind_of(os.fspath(source))
    _check_weights(weights, os.fspath(source), known=kind in OWN_WEIGHTS)
    file = None if weights is None else os.fspath(weights)
    chosen = Choices(file, score_threshold, device, backend)
    return _built(kind, rest, chosen)


def _check_weights(weights: str | os.PathLike[str] | None, source: str, *, known: bool) -> None:
    if weights is None:
        return
    if not known:
        raise ValueError(f"weights are for a detector of torchvision or Detectron2, not {source}")
    if not os.path.isfile(weights):
        raise FileNotFoundError(f"there is no file of weights {os.fspath(weights)}")


@functools.lru_cache(maxsize=2)
def _built(kind: str, rest: str, chosen: Choices) -> Detector:
    return ADAPTERS[kind](rest, chosen)
