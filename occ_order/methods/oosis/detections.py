"""A detector that reads precomputed detections from a file, to evaluate those of other models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import BitMasks, Instances
from torch import nn

from occ_order.formats.detections import DetectionFile


@META_ARCH_REGISTRY.register()
class DetectionsFromFile(nn.Module):
    """Return the detections of an image from a results file (`occ_order.formats.detections`).

    Used as MODEL.DETECTOR_ORDER.META_ARCHITECTURE, it is one of the instance segmentations of OOSIS
    Section 5.2, combined with any order of its masks. Output: `instances` with pred_masks bool
    (N, H, W), modal; pred_amodal_masks if the file has amodal masks; pred_classes, scores and
    pred_boxes; sorted by descending score.
    """

    @configurable
    def __init__(
        self,
        *,
        file: DetectionFile,
        class_of: Mapping[int, int] | None = None,
        one_class: bool = False,
    ) -> None:
        """Initialise the detector.

        Args:
            file: the results file.
            class_of: category id of the file -> class; None = category id - 1. Segments of a
                panoptic file with other categories are stuff and are ignored.
            one_class: assign class 0 to all instances.
        """
        super().__init__()
        self.file, self.class_of, self.one_class = file, class_of, one_class

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read MODEL.DETECTOR_ORDER.RESULTS*, and the categories of the first test data set.

        Raises:
            ValueError: MODEL.DETECTOR_ORDER.RESULTS is empty.
        """
        own = cfg.MODEL.DETECTOR_ORDER
        if not own.RESULTS:
            raise ValueError("MODEL.DETECTOR_ORDER.RESULTS must name the file with the detections")
        file = DetectionFile(
            own.RESULTS, folder=own.RESULTS_FOLDER or None, scores=own.RESULTS_SCORES
        )
        names = list(cfg.DATASETS.TEST)
        metadata = MetadataCatalog.get(names[0]) if names else None
        class_of = metadata.get("thing_dataset_id_to_contiguous_id") if metadata else None
        return {"file": file, "class_of": class_of, "one_class": cfg.TEST.OOSIS.CLASS_AGNOSTIC}

    def forward(self, batched_inputs: Sequence[Mapping[str, Any]]) -> list[dict[str, Instances]]:
        """Return {"instances"} for each input.

        Raises:
            ValueError: in training; invalid entry, or category that is not in the data set.
        """
        if self.training:
            raise ValueError("detections from a file cannot be trained; use --eval-only")
        return [{"instances": self._found(one)} for one in batched_inputs]

    def _found(self, one: Mapping[str, Any]) -> Instances:
        height, width = int(one["height"]), int(one["width"])
        found = self.file.image(one["image_id"], height, width)
        classes = self._classes(found.category_ids, one["image_id"])
        keep = np.flatnonzero(classes >= 0)
        result = Instances((height, width))
        result.pred_masks = torch.from_numpy(found.modal[keep])
        if found.amodal is not None:
            result.pred_amodal_masks = torch.from_numpy(found.amodal[keep])
        result.pred_classes = torch.from_numpy(classes[keep])
        result.scores = torch.from_numpy(found.scores[keep].astype(np.float32))
        result.pred_boxes = BitMasks(result.pred_masks).get_bounding_boxes()
        return result

    def _classes(self, category_ids: np.ndarray, image_id: int | str) -> np.ndarray:
        """Return classes int64 (N,), -1 for stuff."""
        if self.one_class and self.file.kind != "panoptic":
            return np.zeros(len(category_ids), np.int64)
        table = self.class_of
        classes = [int(k) - 1 if table is None else table.get(int(k), -1) for k in category_ids]
        missing = [int(k) for k, c in zip(category_ids, classes, strict=True) if c < 0]
        if missing and self.file.kind != "panoptic":
            raise ValueError(
                f"{self.file.path}: image {image_id!r}: category {missing[0]} is not in the data "
                f"set's {sorted(table or ())}"
            )
        found = np.array(classes, np.int64)
        return np.minimum(found, 0) if self.one_class else found
