"""From one picture, and masks if there are any, to instances with their order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Boxes, BoxMode
from torch import nn

import occ_order.engine.detector_order  # noqa: F401  (registers it)
from occ_order import masks as mask_codec
from occ_order import model_zoo
from occ_order.config import check_settings, load_cfg
from occ_order.methods.build import build_mapper
from occ_order.methods.common.pair_crops import mask_boxes
from occ_order.methods.common.reading import read_picture


class OrderPredictor:
    """Runs one model on pictures of any size.

        predictor = OrderPredictor.from_zoo()      # orders given masks; others by their names
        output = predictor(image, masks)           # your instances, in your order
        output = OrderPredictor.from_zoo("NAME")(image)   # instances that the model finds

    What comes out is described by the model's class; `instances` has pred_masks (modal; for SLN
    whole objects, with pred_modal_masks beside them), pred_boxes, pred_classes, scores and, as far
    as the model tells, the PairMatrix fields occlusion and depth with their probabilities, and
    relative_depth. InstaDepthNet gives `disparity` (H, W), and instances only if masks are given.
    """

    def __init__(self, model: nn.Module, cfg: CfgNode):
        """Takes a model with its weights and its settings.

        Args:
            model: in evaluation mode.
            cfg: how pictures are prepared for it.

        Raises:
            ValueError: a setting would run code (`occ_order.config.check_settings`).
        """
        check_settings(cfg)
        self.model = model.eval()
        cfg = cfg.clone()
        cfg.defrost()
        cfg.INPUT.KEEP_GROUND_TRUTH = False
        self._map_picture = build_mapper(cfg, is_train=False)
        cfg.INPUT.KEEP_GROUND_TRUTH = True
        self._map_instances = build_mapper(cfg, is_train=False)

    @classmethod
    def from_zoo(cls, name: str = model_zoo.ORDERS_MASKS, *, device: str = "cpu") -> OrderPredictor:
        """Return a predictor with a model of the zoo; by default the one that orders given masks.

        Args:
            name: one of `occ_order.model_zoo.names()`.
            device: "cpu" or "cuda".
        """
        return cls(model_zoo.get(name, device=device), model_zoo.get_cfg(name, device=device))

    @classmethod
    def from_config(cls, file: str | os.PathLike[str], opts: Sequence[str] = ()) -> OrderPredictor:
        """A model by its YAML file; MODEL.WEIGHTS and MODEL.DEVICE may stand in `opts`."""
        cfg = load_cfg(file, opts)
        return cls(model_zoo.build(cfg), cfg)

    @property
    def needs_masks(self) -> bool:
        """Whether the model finds no instances itself."""
        return getattr(self.model, "requires_masks", False)

    @property
    def takes_masks(self) -> bool:
        """Whether the model can order given masks."""
        return getattr(self.model, "accepts_masks", False)

    def __call__(
        self,
        image: np.ndarray | str | os.PathLike[str],
        masks: np.ndarray | None = None,
        *,
        classes: Sequence[int] | None = None,
    ) -> dict[str, Any]:
        """Predicts on one picture.

        Args:
            image: uint8 (H, W, 3) RGB, or a file, which is turned as its EXIF orientation says.
            masks: (N, H, W), nonzero = inside, the visible parts of N instances; None lets the
                model find them.
            classes: contiguous class of each mask; default: all 0.

        Returns:
            The model's output for the picture, at the picture's size.

        Raises:
            ValueError: not such a picture; masks of another size; a model that needs masks without
                any, or that cannot take any.
            FileNotFoundError: there is no such file.
        """
        picture = load_picture(image)
        if masks is None and self.needs_masks:
            raise ValueError(
                f"{type(self.model).__name__} orders given masks and finds none itself: give masks"
            )
        record: dict[str, Any] = {
            "picture": picture,
            "image_id": 0,
            "height": picture.shape[0],
            "width": picture.shape[1],
            "annotations": [],
        }
        if masks is None:
            return self._run(self._map_picture(record), given=False)
        if not self.takes_masks:
            raise ValueError(
                f"{type(self.model).__name__} finds its instances itself and takes no masks"
            )
        record["annotations"] = as_annotations(masks, picture.shape[:2], classes)
        output = self._run(self._map_instances(record), given=True)
        if "instances" in output:
            # A model looks at masks of its input's size; what comes back are the user's own.
            found = output["instances"]
            found.pred_masks = torch.from_numpy(np.asarray(masks) != 0).to(found.pred_masks.device)
            found.pred_boxes = Boxes(mask_boxes(found.pred_masks))
        return output

    @torch.inference_mode()
    def _run(self, item: dict[str, Any], *, given: bool) -> dict[str, Any]:
        if hasattr(self.model, "given_masks"):  # it does both, and is told which
            self.model.given_masks = given
        return dict(self.model([item])[0])


def load_picture(image: np.ndarray | str | os.PathLike[str]) -> np.ndarray:
    """A picture as uint8 (H, W, 3) RGB, from a file or checked.

    Raises:
        ValueError: neither of them.
        FileNotFoundError: there is no such file.
    """
    if isinstance(image, str | os.PathLike):
        if not Path(image).is_file():
            raise FileNotFoundError(f"there is no picture {os.fspath(image)}")
        return read_picture({"file_name": os.fspath(image)}, "RGB")
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"a picture must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    return image


def as_annotations(
    masks: np.ndarray, size: tuple[int, int], classes: Sequence[int] | None = None
) -> list[dict[str, Any]]:
    """Masks as the annotations of a record (`occ_order.formats`).

    Raises:
        ValueError: another shape than (N, *size), or another number of classes.
    """
    masks = np.asarray(masks)
    if masks.ndim != 3 or masks.shape[1:] != tuple(size):
        raise ValueError(
            f"masks must be (N, {size[0]}, {size[1]}) as the picture is, got {masks.shape}"
        )
    classes = [0] * len(masks) if classes is None else list(classes)
    if len(classes) != len(masks):
        raise ValueError(f"got {len(classes)} classes for {len(masks)} masks")
    return [
        {
            "id": k + 1,
            "category_id": int(kind),
            "bbox": mask_codec.bounding_box(mask).tolist(),
            "bbox_mode": BoxMode.XYXY_ABS,
            "segmentation": mask_codec.encode(mask),
            "iscrowd": 0,
        }
        for k, (mask, kind) in enumerate(zip(masks, classes, strict=True))
    ]
