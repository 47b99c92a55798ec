"""PCNet-M: order by partial mask completion, without order annotation (Zhan et al., CVPR 2020).

The input of a UNet is a modal mask without the pixels of an *eraser*, and the eraser; its output is
the completed mask. Of two instances, the one that grows more into the other is the occluded one. In
this module each crop is that of a target t, and the eraser is another instance e.
"""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Instances
from torch import nn
from torch.nn import functional as F

from occ_order.methods.common.input_masks import input_instances, with_orders
from occ_order.methods.common.pair_crops import (
    EXPANSION,
    crop_masks,
    mask_boxes,
    on_pixels,
    paste_masks,
    square_around,
)
from occ_order.methods.common.pair_losses import completion_loss
from occ_order.methods.instaorder.unet import UNet
from occ_order.order.graph import reachability
from occ_order.order.pairs import both_directions, select_pairs


@META_ARCH_REGISTRY.register()
class PCNetM(nn.Module):
    """Predict the order of input masks by completing the masks of each pair.

    In training, inputs have `completion` uint8 (K, 3, S, S): erased mask, eraser, full target mask
    (`occ_order.methods.instaorder.completion_mapper.PartialCompletionMapper`), and the output is
    {"loss_completion"}. At test time it is {"instances"} for each image: the input instances with
    PairMatrix fields occlusion and occlusion_probability (fraction of the growth that is behind the
    occluder; 0 without growth), and pred_amodal_masks, completed behind all direct and indirect
    occluders.
    """

    requires_masks = accepts_masks = True  # read by `OrderPredictor`

    @configurable
    def __init__(
        self,
        *,
        net: UNet,
        size: int = 256,
        expansion: float = EXPANSION,
        erased_weight: float = 5.0,
        order_threshold: float = 0.1,
        amodal_threshold: float = 0.2,
        gap: int = 0,
        pairs: str = "all",
        complete: bool = True,
        crops_per_batch: int = 32,
        category_ids: list[int] | None = None,
    ) -> None:
        """Initialise the model.

        Args:
            net: UNet with 2 input channels and 2 classes.
            size: S, side of the crops.
            expansion: ratio of the areas of a crop and of the target's box.
            erased_weight: loss weight of erased pixels.
            order_threshold: probability threshold of the completed mask, for the order.
            amodal_threshold: probability threshold of the amodal mask.
            gap: dilation of erasers in pixels, outside the target.
            pairs: "all" or "bordering" (masks that touch after dilation by `gap`).
            complete: also predict pred_amodal_masks.
            crops_per_batch: batch size of crops at test time.
            category_ids: compat: category id of each class as mask value (published KINS networks);
                None = 1.

        Raises:
            ValueError: `gap` is negative.
        """
        super().__init__()
        if gap < 0:
            raise ValueError(f"MODEL.PCNET_M.GAP must be at least 0, got {gap}")
        self.net, self.size, self.expansion = net, size, expansion
        self.erased_weight, self.gap, self.pairs = erased_weight, gap, pairs
        self.order_threshold, self.amodal_threshold = order_threshold, amodal_threshold
        self.complete, self.crops_per_batch = complete, crops_per_batch
        values = torch.tensor(category_ids or [], dtype=torch.float32)
        self.register_buffer("category_values", values, persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read MODEL.PCNET_M."""
        own, shared = cfg.MODEL.PCNET_M, cfg.MODEL.PAIRWISE
        ids = list(shared.CATEGORY_IDS) or list(range(1, shared.NUM_CLASSES + 1))
        return {
            "net": UNet(2, width=own.WIDTH),
            "size": own.INPUT_SIZE,
            "expansion": own.EXPANSION,
            "erased_weight": own.ERASED_WEIGHT,
            "order_threshold": own.ORDER_THRESHOLD,
            "amodal_threshold": own.AMODAL_THRESHOLD,
            "gap": own.GAP,
            "pairs": own.PAIRS,
            "complete": own.COMPLETE,
            "crops_per_batch": own.CROPS_PER_BATCH,
            "category_ids": ids if own.CATEGORY_VALUES else None,
        }

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.category_values.device

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, torch.Tensor] | list[dict[str, Any]]:
        """Return the losses in training, else one {"instances"} for each input; see the class."""
        if self.training:
            return self._losses(batched_inputs)
        with torch.no_grad():
            return [{"instances": self._predict(one)} for one in batched_inputs]

    def _losses(self, batched_inputs: list[dict[str, Any]]) -> dict[str, torch.Tensor]:
        samples = torch.cat([one["completion"] for one in batched_inputs]).to(self.device)
        classes = torch.cat([one["completion_classes"] for one in batched_inputs]).to(self.device)
        erased, eraser, target = samples.unbind(1)
        if not len(samples):
            return {"loss_completion": 0.0 * self.net.last.weight.sum()}
        logits = self.net(self._input(erased, eraser, classes))
        loss = completion_loss(logits, target, eraser, inside=self.erased_weight)
        return {"loss_completion": loss}

    def _input(
        self, erased: torch.Tensor, eraser: torch.Tensor, classes: torch.Tensor
    ) -> torch.Tensor:
        """Return the network's input, float32 (K, 2, S, S)."""
        erased = erased.float()
        if len(self.category_values):
            erased = erased * self.category_values[classes][:, None, None]
        return torch.stack([erased, eraser.float()], dim=1)

    def _predict(self, one: dict[str, Any]):
        found = input_instances(one, self.device)
        squares = on_pixels(square_around(mask_boxes(found.pred_masks), area=self.expansion))
        growth = self.growth(found, squares)
        fields = dict(zip(("occlusion", "occlusion_probability"), order_of(growth), strict=True))
        if self.complete:
            fields["pred_amodal_masks"] = self.amodal(found, squares, fields["occlusion"])
        return with_orders(one, found, fields)

    def growth(self, found: Instances, squares: torch.Tensor) -> torch.Tensor:
        """Compute the growth of each instance into each other one.

        Args:
            found: N `input_instances`.
            squares: int64 (N, 3), crop of each target.

        Returns:
            float32 (N, N): [t, e] = area, in image pixels, that the completion adds to t inside e;
            0 for pairs that are not evaluated or if e is outside the crop of t.
        """
        count, masks, classes = len(found), found.pred_masks, found.pred_classes
        reach = dilate(masks, self.gap)
        chosen = select_pairs(reach.cpu().numpy(), self.pairs)
        pairs = torch.as_tensor(both_directions(chosen), device=self.device)
        growth = torch.zeros((count, count), device=self.device)
        for target, other in (chunk.unbind(1) for chunk in pairs.split(self.crops_per_batch)):
            eraser, mask = self._crops(masks, reach, target, other, squares)
            used = eraser.flatten(1).any(1) & mask.flatten(1).any(1)
            if not used.any():
                continue
            target, other, eraser, mask = (v[used] for v in (target, other, eraser, mask))
            erased = mask & ~eraser
            probability = self.net(self._input(erased, eraser, classes[target])).softmax(1)
            added = (probability[:, 1] > self.order_threshold) & ~erased & eraser
            pixel = (squares[target, 2].float() / self.size) ** 2
            growth[target, other] = added.flatten(1).sum(1) * pixel
        return growth

    def _crops(self, masks, reach, target, other, squares) -> tuple[torch.Tensor, torch.Tensor]:
        """Crop erasers (dilated outside the targets only) and targets, bool (K, S, S)."""
        where = squares[target]
        mask = crop_masks(masks, target, where, self.size)
        eraser = crop_masks(masks, other, where, self.size)
        if self.gap:
            eraser = eraser | (crop_masks(reach, other, where, self.size) & ~mask)
        return eraser, mask

    def amodal(
        self, found: Instances, squares: torch.Tensor, occlusion: torch.Tensor
    ) -> torch.Tensor:
        """Complete each instance behind the union of all its direct and indirect occluders.

        Args:
            found: N `input_instances`.
            squares: int64 (N, 3), crop of each target.
            occlusion: int8 (N, N).

        Returns:
            bool (N, H, W): union of the modal mask and the completion. Cycles are allowed.
        """
        count, masks, classes = len(found), found.pred_masks, found.pred_classes
        above = torch.as_tensor(reachability(occlusion.cpu().numpy()), device=self.device) != 0
        above = above & ~torch.eye(count, dtype=torch.bool, device=self.device)
        result = masks.clone()
        hidden = torch.nonzero(above.any(0)).flatten()
        if not len(hidden):
            return result
        reach = dilate(masks, self.gap)
        for chunk in hidden.split(self.crops_per_batch):
            cover = torch.stack([reach[above[:, t]].any(0) for t in chunk]) & ~masks[chunk]
            where, row = squares[chunk], torch.arange(len(chunk), device=self.device)
            eraser = crop_masks(cover, row, where, self.size)
            mask = crop_masks(masks, chunk, where, self.size)
            logits = self.net(self._input(mask & ~eraser, eraser, classes[chunk]))
            whole = logits.softmax(1)[:, 1] > self.amodal_threshold
            result[chunk] |= paste_masks(whole, where, masks.shape[1:]) & cover
        return result


def order_of(growth: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Derive the occlusion order from growth: e occludes t iff t grows more into e than e into t.

    Equal growth means no occlusion, so that no pair occludes each other.

    Args:
        growth: float (N, N), [t, e].

    Returns:
        int8 (N, N) occlusion and float32 (N, N), the fraction of the pair's growth that
        supports the row as occluder.
    """
    behind = growth.T
    total = growth + behind
    share = torch.where(total > 0, behind / total.clamp(min=1e-12), torch.zeros_like(total))
    return (behind > growth).to(torch.int8), share


def dilate(masks: torch.Tensor, pixels: int) -> torch.Tensor:
    """Dilate bool (N, H, W) with a square of side 2 `pixels` + 1."""
    if pixels == 0 or masks.numel() == 0:
        return masks
    side = 2 * pixels + 1
    return F.max_pool2d(masks[:, None].float(), side, stride=1, padding=pixels)[:, 0] > 0
