"""High-level prediction: from a photograph, with or without input masks, to ordered instances.

PyTorch is imported only when a model that needs it is loaded.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Mapping
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

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Photographs:
    """Pipeline of detection, order prediction and amodal completion; call it with a photograph.

    Attributes:
        order: model that predicts the order of input masks, or detects and orders instances.
        order_about: description of `order`: name, training data, expected accuracy.
        detector: detects the instances if there are no input masks; None = `order` detects them.
        complete: predicts amodal masks if `order` does not; None = no amodal masks then.
        beyond_frame: as in `predict`.
        score_threshold: drop instances that `order` detects with a lower score; None = keep all.
        resolve_cycles: remove the least probable occlusions from cycles.
        class_names: name by class id, for instances without names.
    """

    order: OrderPredictor | LitePredictor | LiteSegmenter
    order_about: str
    detector: Detector | None = None
    complete: Callable[..., OrderedInstances] | None = None
    beyond_frame: float = 0.0
    score_threshold: float | None = None
    resolve_cycles: bool = False
    class_names: Mapping[int, str] | None = None

    def __call__(
        self,
        photo: np.ndarray | str | os.PathLike[str],
        masks: Any = None,
        *,
        file: str | os.PathLike[str] | None = None,
    ) -> OrderedInstances:
        """Predict the instances of a photograph and their order.

        A warning is logged if no instances are detected.

        Args:
            photo: uint8 (H, W, 3) RGB, or the path of an image file.
            masks: input masks as in `predict`; None = detect instances.
            file: path of the photograph if it is given as an array; names the result.

        Raises:
            ValueError: not an image, or masks that do not fit it; `complete` or `resolve_cycles`
                with a model that predicts no occlusion order; `beyond_frame` with amodal masks of
                the input or of `order`.
            FileNotFoundError: the file does not exist.
        """
        pixels, given = as_image(photo), masks is not None
        if file is None and not isinstance(photo, np.ndarray):
            file = photo
        if masks is not None:
            size = (pixels.shape[0], pixels.shape[1])
            masks = of_image(masks, pixels if file is None else file, size)
        elif self.detector is not None:
            masks = self.detector(pixels, file=file)
        if masks is not None and masks.names is None and self.class_names:
            known = [self.class_names.get(k, "") for k in masks.classes.tolist()]
            masks = masks.replace(names=known)
        result = self.order(pixels, masks) if masks is not None else self._found(pixels, file)
        if not given and not len(result) and not says_nothing(result):
            logger.warning("%s: no instances detected", "image" if file is None else file)
        if self.resolve_cycles:
            result = result.without_cycles()
        if self.beyond_frame and result.amodal is not None:
            raise ValueError(
                f"image {result.image_id!r}: beyond_frame applies to amodal masks that are "
                "predicted here, and the masks or the model come with amodal masks"
            )
        if self.complete is None or result.amodal is not None:
            return result
        return self.complete(result, beyond_frame=self.beyond_frame)

    def _found(self, pixels: np.ndarray, file: str | os.PathLike[str] | None) -> OrderedInstances:
        """Return the instances that `order` detects, with scores of at least `score_threshold`."""
        found = self.order(pixels)
        if file is not None:
            found = found.replace(image_id=Path(file).stem, file_name=Path(file).name)
        least = -np.inf if self.score_threshold is None else self.score_threshold
        return found[found.scores >= least]

    def about(self, *, masks: bool) -> str:
        """Describe in one line the model of each step, its training data and expected accuracy.

        Args:
            masks: whether there are input masks, so that the detector is not used.
        """
        by = None if self.detector is None else self.detector.about
        finds = "instances: input masks" if masks else f"instances: {by or self.order_about}"
        parts = [finds]
        if masks or by:
            parts.append(f"order: {self.order_about}")
        if self.complete is not None:
            parts.append(f"amodal masks: {model_zoo.introduce(model_zoo.COMPLETES_MASKS)}")
        return " | ".join(parts)


def says_nothing(result: OrderedInstances) -> bool:
    """Return whether there are no instances but a disparity map."""
    return result.disparity is not None and not len(result) and result.occlusion is None


def photographs(
    *,
    model: str | OrderPredictor | LitePredictor | LiteSegmenter | None = None,
    about: str = "",
    given_masks: bool = False,
    detector: Any = None,
    detector_weights: str | os.PathLike[str] | None = None,
    score_threshold: float | None = None,
    amodal: bool | None = None,
    beyond_frame: float = 0.0,
    resolve_cycles: bool = False,
    class_names: Mapping[int, str] | None = None,
    device: str = "cpu",
    backend: str = "auto",
) -> Photographs:
    """Load the models of `predict` once, for many photographs.

    Args:
        model: as in `predict`, or a loaded model.
        about: description of a loaded model, for `Photographs.about`.
        given_masks: there will be input masks for each photograph; no detector is loaded.
        detector, detector_weights, score_threshold, amodal, beyond_frame, resolve_cycles,
            class_names, device, backend: as in `predict`.

    Raises:
        ValueError: as `predict`.
        ImportError: as `predict`.
        FileNotFoundError: the weights of the detector are not on this machine and cannot be
            downloaded.
    """
    if given_masks and detector is not None:
        raise ValueError("pass either masks or a detector, not both")
    if given_masks and score_threshold is not None:
        raise ValueError("a score threshold applies to detections only, not to input masks")
    if detector is None and detector_weights is not None:
        raise ValueError("detector_weights requires detector")
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
    if beyond_frame and not amodal:
        raise ValueError("beyond_frame applies to amodal masks: pass amodal=True as well")
    return Photographs(
        order=order,
        order_about=model_zoo.introduce(name) if isinstance(name, str) else about,
        detector=detector,
        complete=completer(**chosen) if amodal else None,
        beyond_frame=beyond_frame,
        score_threshold=score_threshold,
        resolve_cycles=resolve_cycles,
        class_names=class_names,
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
    beyond_frame: float = 0.0,
    resolve_cycles: bool = False,
    class_names: Mapping[int, str] | None = None,
    device: str = "cpu",
    backend: str = "auto",
) -> OrderedInstances:
    """Predict the instances of one photograph and their order.

    Models stay in memory between calls.

    Args:
        photo: uint8 (H, W, 3) RGB, or the path of an image file.
        masks: input masks in any form of :mod:`occ_order.formats.given`: bool (N, H, W), a label
            map, a file, results of other libraries. None = detect instances.
        model: name of an order model in the zoo. Default: `model_zoo.ORDERS_MASKS`. A model that
            detects instances itself does so if there are neither masks nor a detector.
        detector: "torchvision", "detectron2:CONFIG", a name in the zoo, a file, or a function
            (:mod:`occ_order.detectors`). Its class names and scores are kept. Default:
            `model_zoo.FINDS_INSTANCES`, if the model needs masks and there are none.
        detector_weights: file with weights for a torchvision or Detectron2 detector, instead of
            its default ones.
        score_threshold: drop detections with a lower score; default: that of the detector.
        amodal: predict amodal masks by `model_zoo.COMPLETES_MASKS`, unless the model or the input
            has them. Default: True if `model` is None, else False.
        beyond_frame: predict amodal masks also beyond the frame of the photograph, up to this share
            of its height and width. The result, its masks and its image have the size of this
            larger canvas, in whose middle the photograph is; it has no disparity.
        resolve_cycles: remove the least probable occlusions from cycles
            (`OrderedInstances.without_cycles`).
        class_names: name by class id, for masks and detections without names, such as COCO results.
        device: "cpu" or "cuda".
        backend: "auto", "onnx" or "torch", as in `predictor`.

    Raises:
        ValueError: as `OrderPredictor` and `predictor`; masks together with a detector or a score
            threshold; an unknown model or detector.
        FileNotFoundError: a file does not exist, or the weights of the detector are not on this
            machine and cannot be downloaded; the message names the file, its URL and its place.
        ImportError: a library that the backend or the detector needs is not installed.
    """
    chain = photographs(
        model=model,
        given_masks=masks is not None,
        detector=detector,
        detector_weights=detector_weights,
        score_threshold=score_threshold,
        amodal=amodal,
        beyond_frame=beyond_frame,
        resolve_cycles=resolve_cycles,
        class_names=class_names,
        device=device,
        backend=backend,
    )
    return chain(photo, masks)
