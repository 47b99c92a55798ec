"""Area, y-axis and disparity as networks without weights, so that they share the evaluation."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from torch import nn

from occ_order.modeling.pairwise.given import given_instances, with_orders
from occ_order.order.baselines import area_order, disparity_order, y_axis_order

NAMES = ("area", "y_axis", "disparity_mean", "disparity_median")


@META_ARCH_REGISTRY.register()
class OrderBaseline(nn.Module):
    """Orders given masks by a rule of `occ_order.order.baselines`; nothing is trained.

    The result for each image is {"instances"} with PairMatrix fields occlusion and depth.
    """

    @configurable
    def __init__(
        self,
        *,
        name: str,
        occlusion_pairs: str = "bordering",
        depth_pairs: str = "all",
        compat: str | None = None,
        disparity_net: nn.Module | None = None,
    ):
        """Keeps the arguments.

        Args:
            name: one of `NAMES`.
            occlusion_pairs, depth_pairs: which pairs get an order, see the functions.
            compat: a published rule, see the functions.
            disparity_net: gives {"disparity": (H, W)} for each input; None takes the input's own
                "disparity".

        Raises:
            ValueError: unknown name.
        """
        super().__init__()
        if name not in NAMES:
            raise ValueError(f"MODEL.ORDER_BASELINE.NAME must be one of {NAMES}, got {name!r}")
        self.name, self.compat = name, compat
        self.pairs = {"occlusion": occlusion_pairs, "depth": depth_pairs}
        self.disparity_net = disparity_net

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """MODEL.ORDER_BASELINE."""
        own = cfg.MODEL.ORDER_BASELINE
        net = None
        if own.DISPARITY_ARCHITECTURE:
            net = META_ARCH_REGISTRY.get(own.DISPARITY_ARCHITECTURE)(cfg)
        return {
            "name": own.NAME,
            "occlusion_pairs": own.OCCLUSION_PAIRS,
            "depth_pairs": own.DEPTH_PAIRS,
            "compat": own.COMPAT or None,
            "disparity_net": net,
        }

    @torch.no_grad()
    def forward(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """One {"instances"} for each input.

        Raises:
            ValueError: in training; a disparity baseline without a disparity map.
        """
        if self.training:
            raise ValueError(f"the baseline {self.name!r} has nothing to train; use --eval-only")
        return [{"instances": self._predict(one)} for one in batched_inputs]

    def _predict(self, one: dict[str, Any]):
        given = given_instances(one, torch.device("cpu"))
        masks = given.masks.numpy()
        disparity = self._disparity(one, masks.shape[1:]) if "disparity" in self.name else None
        orders = {
            order: torch.from_numpy(self._order(masks, disparity, order)) for order in self.pairs
        }
        height, width = masks.shape[1:]
        size = {"height": one.get("height", height), "width": one.get("width", width)}
        return with_orders(given, orders, **size)

    def _order(self, masks: np.ndarray, disparity: np.ndarray | None, order: str) -> np.ndarray:
        options = {"order": order, "pairs": self.pairs[order], "compat": self.compat}
        if self.name == "area":
            return area_order(masks, **options)
        if self.name == "y_axis":
            return y_axis_order(masks, **options)
        statistic = self.name.removeprefix("disparity_")
        return disparity_order(disparity, masks, statistic=statistic, **options)

    def _disparity(self, one: dict[str, Any], size: tuple[int, int]) -> np.ndarray:
        """float (H, W) in the size of the masks."""
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
