"""A pairwise network that orders objects which another network has found (SLN, Table 2)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.structures import Instances

from occ_order.methods.common.reading import read_image, to_tensor
from occ_order.methods.sln.decode import sem_dist_maps


class OrderNetOnFound:
    """Orders found objects by their amodal masks or by their sem-dist maps.

    Args:
        net: a `PairwiseOrderNet` in evaluation mode.
        cfg: its settings.
    """

    def __init__(
        self, net: Callable[[list[dict[str, Any]]], list[dict[str, Any]]], cfg: CfgNode
    ) -> None:
        self.net = net
        self.image_format = cfg.INPUT.FORMAT
        self.wants_maps = "maps" in cfg.MODEL.PAIRWISE.INPUTS
        self.map_field = cfg.MODEL.PAIRWISE.MAP_FIELD

    def can_order(self, instances: Instances) -> bool:
        """Return whether the instances have the fields that are input of the network."""
        return not self.wants_maps or instances.has("pred_levels")

    @torch.no_grad()
    def __call__(
        self, record: dict[str, Any], instances: Instances, chosen: np.ndarray
    ) -> np.ndarray:
        """Predict the occlusion matrix of all detections; pairs of chosen ones only.

        Args:
            record: names the image.
            instances: N objects with pred_masks (amodal), scores and, for maps, what
                `sem_dist_maps` needs, at the size of the image.
            chosen: integer (U,), which of them to order.

        Returns:
            int8 (N, N): 1 where the row is in front; 0 also for pairs not predicted.
        """
        occlusion = np.zeros((len(instances),) * 2, np.int8)
        if len(chosen) < 2:
            return occlusion
        asked = Instances(instances.image_size)
        few = instances[torch.from_numpy(np.asarray(chosen, np.int64))]
        asked.pred_masks, asked.scores = few.pred_masks, few.scores
        asked.pred_classes = torch.zeros(len(few), dtype=torch.int64)
        if self.wants_maps:
            asked.set(self.map_field, torch.from_numpy(sem_dist_maps(few)))
        image = to_tensor(read_image(record, self.image_format))
        (answer,) = self.net([{"image": image, "instances": asked}])
        occlusion[np.ix_(chosen, chosen)] = answer["instances"].occlusion.tensor.cpu().numpy()
        return occlusion
