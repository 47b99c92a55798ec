"""Prediction of ordered instances for one image, optionally with input masks."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import nn

import occ_order.engine.detector_order  # noqa: F401  (registers it)
from occ_order import model_zoo
from occ_order.config import check_settings, load_cfg
from occ_order.files import as_image
from occ_order.formats.given import of_image
from occ_order.instances import OrderedInstances
from occ_order.methods.build import build_mapper
from occ_order.methods.common.ordered import from_instances, model_input
from occ_order.methods.sln.decode import sem_dist_maps


class OrderPredictor:
    """Run a model on images of any size.

        predictor = OrderPredictor.from_zoo()      # default model: orders input masks
        result = predictor(image, masks)           # input instances in the same order
        result = OrderPredictor.from_zoo("NAME")(image)   # instances detected by the model

    The result is :class:`occ_order.instances.OrderedInstances`. InstaDepthNet predicts
    `disparity`, and instances only for input masks; SLN `amodal`, `levels` and `sem_dist`.
    """

    def __init__(self, model: nn.Module, cfg: CfgNode) -> None:
        """Initialise the predictor.

        Args:
            model: model with weights, in evaluation mode.
            cfg: its config, which defines the preprocessing.

        Raises:
            ValueError: a key would execute code (`occ_order.config.check_settings`).
        """
        check_settings(cfg)
        self.model = model.eval()
        cfg = cfg.clone()
        cfg.defrost()
        cfg.INPUT.KEEP_GROUND_TRUTH = False
        self._map = build_mapper(cfg, is_train=False)

    @classmethod
    def from_zoo(cls, name: str = model_zoo.ORDERS_MASKS, *, device: str = "cpu") -> OrderPredictor:
        """Build a predictor with a model of the zoo, by default one that orders input masks.

        Args:
            name: one of `occ_order.model_zoo.names()`.
            device: "cpu" or "cuda".
        """
        return cls(model_zoo.get(name, device=device), model_zoo.get_cfg(name, device=device))

    @classmethod
    def from_config(cls, file: str | os.PathLike[str], opts: Sequence[str] = ()) -> OrderPredictor:
        """Build a predictor from a YAML file; `opts` may set MODEL.WEIGHTS and MODEL.DEVICE."""
        cfg = load_cfg(file, opts)
        return cls(model_zoo.build(cfg), cfg)

    @property
    def needs_masks(self) -> bool:
        """Whether the model requires input masks."""
        return getattr(self.model, "requires_masks", False)

    @property
    def takes_masks(self) -> bool:
        """Whether the model can order input masks."""
        return getattr(self.model, "accepts_masks", False)

    def __call__(
        self,
        image: np.ndarray | str | os.PathLike[str],
        masks: Any = None,
        *,
        classes: Sequence[int] | None = None,
    ) -> OrderedInstances:
        """Order the instances of one image.

        Args:
            image: uint8 (H, W, 3) RGB, or a file, whose EXIF orientation is applied.
            masks: modal masks of N instances: (N, H, W), a label map, a file, instances, or
                predictions of other libraries (:mod:`occ_order.formats.given`); the result keeps
                their ids, names, classes and scores. None = detect instances.
            classes: contiguous class of each mask, for models that use it; default: 0.

        Returns:
            The instances at the size of the image, with all predictions.

        Raises:
            ValueError: invalid image; masks of another size; missing masks for a model that
                requires them, or masks for a model that does not accept them.
            FileNotFoundError: the file does not exist.
        """
        pixels = as_image(image)
        if masks is None and self.needs_masks:
            raise ValueError(
                f"{type(self.model).__name__} orders input masks and detects nothing: pass masks"
            )
        if masks is not None and not self.takes_masks:
            raise ValueError(
                f"{type(self.model).__name__} detects instances and does not accept input masks"
            )
        if masks is not None:
            size = pixels.shape[:2]
            return self._ordered(pixels, of_image(masks, image, size, classes=classes), classes)
        found = self._found(pixels)
        if isinstance(image, str | os.PathLike):
            found = found.replace(image_id=Path(image).stem, file_name=Path(image).name)
        return found

    def output(self, image: np.ndarray | str | os.PathLike[str]) -> dict[str, Any]:
        """Return the raw output of the model for an image without input masks.

        Args:
            image: as in `__call__`.
        """
        return self._run(model_input(self._map, as_image(image)), given=False)

    def _found(self, pixels: np.ndarray) -> OrderedInstances:
        """Return detections, and maps of the whole image such as disparity if predicted."""
        output, size = self.output(pixels), (pixels.shape[0], pixels.shape[1])
        known: dict[str, Any] = {"image": pixels, "disparity": disparity_of(output)}
        if "instances" not in output:
            return OrderedInstances(0, size, np.zeros((0, *size), bool), **known)
        found = output["instances"].to("cpu")
        if found.has("pred_levels"):
            known["sem_dist"] = sem_dist_maps(found)
        return from_instances(found, **known)

    def _ordered(
        self,
        pixels: np.ndarray,
        given: OrderedInstances,
        classes: Sequence[int] | None,
    ) -> OrderedInstances:
        """Return input instances with the predictions of the model.

        The model's masks are resized to its input; the result has the original ones.
        """
        # Category ids that came with the masks are no classes of the model.
        kinds = np.zeros(len(given), np.int64) if classes is None else given.classes
        output = self._run(model_input(self._map, pixels, given.replace(classes=kinds)), given=True)
        said = from_instances(output["instances"].to("cpu"))
        keys = ("occlusion", "occlusion_prob", "depth", "depth_prob")
        return given.replace(
            **{key: getattr(said, key) for key in keys},
            overlap=None,
            count=None,
            amodal=given.amodal if said.amodal is None else said.amodal,
            disparity=disparity_of(output),
            image=pixels,
        )

    @torch.inference_mode()
    def _run(self, item: dict[str, Any], *, given: bool) -> dict[str, Any]:
        if hasattr(self.model, "given_masks"):  # the model supports both modes
            self.model.given_masks = given
        return dict(self.model([item])[0])


def disparity_of(output: dict[str, Any]) -> np.ndarray | None:
    """Return the disparity of a model's output, float32 (H, W), or None."""
    disparity = output.get("disparity")
    return None if disparity is None else disparity.float().cpu().numpy()
