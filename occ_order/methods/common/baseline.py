"""Heuristic baselines (area, y-axis, bottom edge, disparity) as Detectron2 models."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from occ_order.methods.common.input_masks import input_instances, with_orders
from occ_order.order.baselines import (
    area_order,
    bottom_edge_order,
    disparity_order,
    y_axis_order,
)

NAMES = ("area", "y_axis", "bottom_edge", "disparity_mean", "disparity_median")


@META_ARCH_REGISTRY.register()
class OrderBaseline(nn.Module):
    """Orders input masks by a heuristic of `occ_order.order.baselines`, without training.

    The result for each image is {"instances"} with PairMatrix fields occlusion, depth and
    occlusion_probability. The latter is 1 if the row is in front, for all pairs, also for those
    that `occlusion_pairs` excludes, so that metrics of the direction are defined.
    """

    requires_masks = accepts_masks = True  # read by `OrderPredictor`

    @configurable
    def __init__(
        self,
        *,
        name: str,
        occlusion_pairs: str = "bordering",
        depth_pairs: str = "all",
        gap: int = 0,
        compat: str | None = None,
        disparity_net: nn.Module | None = None,
    ) -> None:
        """Initialise the baseline.

        Args:
            name: one of `NAMES`.
            occlusion_pairs, depth_pairs: pairs to order, see `occ_order.order.baselines`.
            gap: maximum gap in pixels between bordering masks.
            compat: a published variant, see `occ_order.order.baselines`.
            disparity_net: network that returns {"disparity": (H, W)} for each input; None uses
                "disparity" of the input.

        Raises:
            ValueError: unknown name, or `compat` for a baseline without published variant.
        """
        super().__init__()
        if name not in NAMES:
            raise ValueError(f"MODEL.ORDER_BASELINE.NAME must be one of {NAMES}, got {name!r}")
        if compat and name == "bottom_edge":
            raise ValueError(
                f"MODEL.ORDER_BASELINE.COMPAT of bottom_edge must be '', got {compat!r}"
            )
        self.name, self.gap, self.compat = name, gap, compat
        self.pairs = {"occlusion": occlusion_pairs, "depth": depth_pairs}
        self.disparity_net = disparity_net

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read MODEL.ORDER_BASELINE."""
        own = cfg.MODEL.ORDER_BASELINE
        net = None
        if own.DISPARITY_ARCHITECTURE:
            net = META_ARCH_REGISTRY.get(own.DISPARITY_ARCHITECTURE)(cfg)
        return {
            "name": own.NAME,
            "occlusion_pairs": own.OCCLUSION_PAIRS,
            "depth_pairs": own.DEPTH_PAIRS,
            "gap": own.GAP,
            "compat": own.COMPAT or None,
            "disparity_net": net,
        }

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Return {"instances"} for each input.

        Raises:
            ValueError: in training; a disparity baseline without a disparity map.
        """
        if self.training:
            raise ValueError(f"the baseline {self.name!r} has nothing to train; use --eval-only")
        return [{"instances": self._predict(one)} for one in batched_inputs]

    def _predict(self, one: dict[str, Any]):
        found = input_instances(one, torch.device("cpu"))
        masks = found.pred_masks.numpy()
        disparity = self._disparity(one, masks.shape[1:]) if "disparity" in self.name else None
        orders = {
            order: torch.from_numpy(self._order(masks, disparity, order, pairs))
            for order, pairs in self.pairs.items()
        }
        in_front = self._order(masks, disparity, "occlusion", "all")
        orders["occlusion_probability"] = torch.from_numpy(in_front.astype(np.float32))
        return with_orders(one, found, orders)

    def _order(
        self, masks: np.ndarray, disparity: np.ndarray | None, order: str, pairs: str
    ) -> np.ndarray:
        options: dict[str, Any] = {"order": order, "pairs": pairs, "gap": self.gap}
        if self.name == "bottom_edge":
            return bottom_edge_order(masks, **options)
        options["compat"] = self.compat
        if self.name == "area":
            return area_order(masks, **options)
        if self.name == "y_axis":
            return y_axis_order(masks, **options)
        assert disparity is not None  # `_predict` reads it for every name with "disparity"
        statistic = self.name.removeprefix("disparity_")
        return disparity_order(disparity, masks, statistic=statistic, **options)

    def _disparity(self, one: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
        """Return the disparity map, float (H, W), resized to the size of the masks."""
        if self.disparity_net is not None:
            found = self.disparity_net([one])[0]["disparity"]
        elif "disparity" in one:
            found = torch.as_tensor(one["disparity"])
        else:
            raise ValueError(
                f"image {one.get('image_id')!r}: {self.name} needs 'disparity' in the input, or "
                "MODEL.ORDER_BASELINE.DISPARITY_ARCHITECTURE"
            )
        found = found.float().cpu().reshape(1, 1, *found.shape[-2:])
        if tuple(found.shape[-2:]) != tuple(size):
            found = nn.functional.interpolate(found, size, mode="bilinear", align_corners=False)
        return found[0, 0].numpy()
