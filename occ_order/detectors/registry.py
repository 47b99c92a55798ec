"""The table of detectors: what each kind is built by."""

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
    """What a user may choose beside the detector.

    Attributes:
        weights: a file; None = the detector's own.
        score_threshold: None = the detector's own.
        device: "cpu" or "cuda".
        backend: of a model of the zoo, as of `occ_order.predictor`.
    """

    weights: str | None = None
    score_threshold: float | None = None
    device: str = "cpu"
    backend: str = "auto"

    def threshold(self, default: float) -> float:
        """Return the least score of what is kept."""
        return default if self.score_threshold is None else self.score_threshold


def of_zoo(name: str, chosen: Choices) -> Detector:
    """Return a model of the model zoo that finds instances."""
    finds = predictor(name, device=chosen.device, backend=chosen.backend)
    if finds.needs_masks:
        raise ValueError(f"{name!r} of the model zoo orders given masks and finds none itself")

    def find(pixels: np.ndarray, file_name: str | None) -> OrderedInstances:
        found = finds(pixels)
        if found.disparity is not None and not len(found):
            raise ValueError(f"{name!r} tells how far everything is, and finds no instances")
        return found.replace(image_id=0 if file_name is None else Path(file_name).stem)

    threshold = chosen.threshold(model_zoo.row(name).get("score_threshold", 0.0))
    return Detector(find, model_zoo.introduce(name), threshold)


def of_torchvision(name: str, chosen: Choices) -> Detector:
    """Return a Mask R-CNN of torchvision."""
    from occ_order.detectors.of_torchvision import build

    return build(name, chosen.weights, chosen.threshold(0.5), chosen.device)


def of_detectron2(config: str, chosen: Choices) -> Detector:
    """Return a model of Detectron2's model zoo."""
    from occ_order.detectors.of_detectron2 import build_of_zoo

    return build_of_zoo(config, chosen.weights, chosen.threshold(0.5), chosen.device)


def of_yaml(file: str, chosen: Choices) -> Detector:
    """Return the model of a YAML file of Detectron2, or of a project that extends it."""
    from occ_order.detectors.of_detectron2 import build_of_yaml

    return build_of_yaml(file, chosen.weights, chosen.threshold(0.5), chosen.device)


def of_lazy(file: str, chosen: Choices) -> Detector:
    """Return the model of a LazyConfig, which is Python code and is run."""
    from occ_order.detectors.of_detectron2 import build_of_lazy

    return build_of_lazy(file, chosen.weights, chosen.threshold(0.5), chosen.device)


def of_file(path: str, chosen: Choices) -> Detector:
    """Return what somebody's detector has written to a file or a folder."""
    return build_of_file(path, chosen.threshold(0.0))


ADAPTERS: dict[str, Callable[[str, Choices], Detector]] = {
    "zoo": of_zoo,
    "torchvision": of_torchvision,
    "detectron2": of_detectron2,
    "yaml": of_yaml,
    "lazy": of_lazy,
    "file": of_file,
}
"""Kind of `kind_of` -> what builds it of a name or a file."""

OWN_WEIGHTS = ("torchvision", "detectron2", "yaml", "lazy")
"""Kinds whose weights may be named."""


def build_detector(
    source: Any,
    *,
    weights: str | os.PathLike[str] | None = None,
    score_threshold: float | None = None,
    device: str = "cpu",
    backend: str = "auto",
) -> Detector:
    """Return a detector; one that is named by a text stays in memory for the next call.

    Args:
        source: see the head of `occ_order.detectors`.
        weights: file of its weights, for a detector of torchvision or Detectron2; None = those
            that it names itself, downloaded where need be.
        score_threshold: instances with a lower score are left out; None = the detector's own: 0.5
            for torchvision and Detectron2, that of its row for a model of the zoo, else 0.
        device: "cpu" or "cuda".
        backend: of a model of the zoo, as of `occ_order.predictor`.

    Raises:
        ValueError: no such detector, or weights for one that has none; a configuration or weights
            that are refused, or do not fit each other.
        FileNotFoundError: no such file; weights that cannot be had without a network.
        ImportError: what it needs is not installed.
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
