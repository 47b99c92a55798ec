"""What a user calls first: a photograph, and masks if there are any, to instances with their order.

Nothing that needs PyTorch is imported before a model that needs it is asked for.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from occ_order import model_zoo
from occ_order.backends import completer, predictor
from occ_order.detectors.detector import Detector
from occ_order.detectors.registry import build_detector
from occ_order.files import as_image
from occ_order.formats.given import of_image
from occ_order.instances import OrderedInstances

if TYPE_CHECKING:
    from occ_order.engine.predictor import OrderPredictor
    from occ_order.lite import LitePredictor, LiteSegmenter

__all__ = ["Photographs", "photographs", "predict", "predictor"]


@dataclass(frozen=True)
class Photographs:
    """Everything that is done to a photograph, one after the other; called with one.

    Attributes:
        order: the model that orders, or that finds instances itself.
        order_about: what it is, was trained on, and what to expect of it.
        detector: finds the instances of a photograph without masks; None = `order` does.
        complete: adds amodal masks where `order` gives none; None = nothing does.
        score_threshold: of the instances that `order` finds itself.
        resolve_cycles: leave the least probable occlusions out of cycles.
    """

    order: OrderPredictor | LitePredictor | LiteSegmenter
    order_about: str
    detector: Detector | None = None
    complete: Callable[[OrderedInstances], OrderedInstances] | None = None
    score_threshold: float | None = None
    resolve_cycles: bool = False

    def __call__(
        self,
        photo: np.ndarray | str | os.PathLike[str],
        masks: Any = None,
        *,
        file: str | os.PathLike[str] | None = None,
    ) -> OrderedInstances:
        """Return the instances of a photograph with their order.

        Args:
            photo: uint8 (H, W, 3) RGB, or a file.
            masks: as of `predict`; None finds instances.
            file: where a photograph that is given as an array comes from.

        Raises:
            ValueError: what is given is no photograph, or no masks of it; amodal masks or an order
                without cycles are wanted of a model that tells no order of occlusion.
            FileNotFoundError: there is no such file.
        """
        pixels = as_image(photo)
        if file is None and not isinstance(photo, np.ndarray):
            file = photo
        if masks is not None:
            size = (pixels.shape[0], pixels.shape[1])
            masks = of_image(masks, pixels if file is None else file, size)
        elif self.detector is not None:
            masks = self.detector(pixels, file=file)
        result = self.order(pixels, masks) if masks is not None else self._found(pixels, file)
        if self.resolve_cycles:
            result = result.without_cycles()
        return self.complete(result) if self.complete and result.amodal is None else result

    def _found(self, pixels: np.ndarray, file: str | os.PathLike[str] | None) -> OrderedInstances:
        """What the model finds and orders by itself."""
        found = self.order(pixels)
        if file is not None:
            found = found.replace(image_id=Path(file).stem, file_name=Path(file).name)
        least = -np.inf if self.score_threshold is None else self.score_threshold
        return found[found.scores >= least]

    def about(self, *, masks: bool) -> str:
        """Return what works on photographs, was trained on what, and what to expect: one line.

        Args:
            masks: whether masks are given.
        """
        by = None if self.detector is None else self.detector.about
        finds = "instances: given masks" if masks else f"instances: {by or self.order_about}"
        parts = [finds]
        if masks or by:
            parts.append(f"order: {self.order_about}")
        if self.complete is not None:
            parts.append(f"amodal masks: {model_zoo.introduce(model_zoo.COMPLETES_MASKS)}")
        return " | ".join(parts)


def photographs(
    *,
    model: str | OrderPredictor | LitePredictor | LiteSegmenter | None = None,
    about: str = "",
    given_masks: bool = False,
    detector: Any = None,
    detector_weights: str | os.PathLike[str] | None = None,
    score_threshold: float | None = None,
    amodal: bool | None = None,
    resolve_cycles: bool = False,
    device: str = "cpu",
    backend: str = "auto",
) -> Photographs:
    """Return what `predict` does with each photograph, its models in memory.

    Args:
        model: as of `predict`, or what predicts already.
        about: what to say of a model that is given so.
        given_masks: masks come with the photographs: nothing is to be found.
        detector, detector_weights, score_threshold, amodal, resolve_cycles, device, backend: as of
            `predict`.

    Raises:
        ValueError: as `predict`.
        ImportError: as `predict`.
        FileNotFoundError: weights of a detector that cannot be had without a network.
    """
    if given_masks and detector is not None:
        raise ValueError("a detector finds instances and masks name them: give one of them")
    if given_masks and score_threshold is not None:
        raise ValueError("a score threshold is of instances that are found: masks are all taken")
    if detector is None and detector_weights is not None:
        raise ValueError("weights of a detector need the detector that they are of")
    chosen: dict[str, Any] = {"device": device, "backend": backend}
    name = model_zoo.ORDERS_MASKS if model is None else model
    order = predictor(name, **chosen) if isinstance(name, str) else name
    if detector is None and not given_masks and order.needs_masks:
        detector = model_zoo.FINDS_INSTANCES
    if detector is not None:
        detector = build_detector(
            detector, weights=detector_weights, score_threshold=score_threshold, **chosen
        )
    if amodal is None:
        amodal = model is None
    return Photographs(
        order=order,
        order_about=model_zoo.introduce(name) if isinstance(name, str) else about,
        detector=detector,
        complete=completer(**chosen) if amodal else None,
        score_threshold=score_threshold,
        resolve_cycles=resolve_cycles,
    )


def predict(
    photo: np.ndarray | str | os.PathLike[str],
    masks: Any = None,
    *,
    model: str | None = None,
    detector: Any = None,
    detector_weights: str | os.PathLike[str] | None = None,
    score_threshold: float | None = None,
    amodal: bool | None = None,
    resolve_cycles: bool = False,
    device: str = "cpu",
    backend: str = "auto",
) -> OrderedInstances:
    """Order the instances of one photograph. Models stay in memory between calls.

    Args:
        photo: uint8 (H, W, 3) RGB, or a file.
        masks: whatever :mod:`occ_order.formats.given` knows: an array (N, H, W), a label map, a
            file, what another library found; None finds instances.
        model: name in the zoo of the model that orders. Default: `model_zoo.ORDERS_MASKS`. One that
            finds instances as well does so where neither masks nor a detector are given.
        detector: what finds the instances: "torchvision", "detectron2:CONFIG", a name in the zoo,
            a file, or a function (:mod:`occ_order.detectors`). Names of classes and scores are
            kept. Default: `model_zoo.FINDS_INSTANCES`, for a model that orders masks.
        detector_weights: file of the weights of a detector of torchvision or Detectron2, instead of
            its own.
        score_threshold: leave out found instances with a lower score; default: the detector's own.
        amodal: complete the instances behind what occludes them, by `model_zoo.COMPLETES_MASKS`,
            unless the model itself or the masks tell the amodal masks. Default: where no `model` is
            named.
        resolve_cycles: leave the least probable occlusions out of cycles
            (`OrderedInstances.without_cycles`).
        device: "cpu" or "cuda".
        backend: as `predictor`.

    Raises:
        ValueError: as `OrderPredictor` and `predictor`; a detector and masks, or a score threshold
            and masks; no such model or detector.
        FileNotFoundError: there is no such file; weights of a detector that cannot be had without
            a network: which file, from where, where to put it.
        ImportError: what the backend or the detector needs is not installed.
    """
    chain = photographs(
        model=model,
        given_masks=masks is not None,
        detector=detector,
        detector_weights=detector_weights,
        score_threshold=score_threshold,
        amodal=amodal,
        resolve_cycles=resolve_cycles,
        device=device,
        backend=backend,
    )
    return chain(photo, masks)
