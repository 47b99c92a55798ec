"""Heads that predict layers of an object inside a region: ILM with refinement, and baselines.

Shape shorthand: ``R`` regions, ``K`` levels, ``S`` side of a region's map. All heads speak one
language: they learn from `gt_levels` and predict `pred_level_prob`, float (R, K, S, S), the
probability of "the object is here, at level l or nearer". [:, 0] is the modal, [:, -1] the amodal
mask. A head of one level knows amodal masks only; one of two knows what is hidden; more know behind
how many objects.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling.roi_heads.mask_head import (
    ROI_MASK_HEAD_REGISTRY,
    MaskRCNNConvUpsampleHead,
)
from detectron2.structures import Instances
from torch import nn
from torch.nn import functional as F

from occ_order.methods.sln.blocks import ConvBlock
from occ_order.methods.sln.level_maps import coarser_levels
from occ_order.methods.sln.losses import (
    instance_layering_loss,
    nearer_logits,
    nested_logits,
    ordinal_loss,
    soft_level_set,
    thresholded_logits,
)


class LayerHead(nn.Module):
    """Base class of the heads: targets from `gt_levels`, predictions in `pred_level_prob`.

    Args:
        num_levels: K.
    """

    def __init__(self, num_levels: int) -> None:
        super().__init__()
        self.num_levels = num_levels

    def layers(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Compute the outputs, input of `losses` and `probabilities`, of features (R, C, P, P)."""
        raise NotImplementedError

    def losses(
        self, outputs: dict[str, torch.Tensor], levels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Losses by name; `levels` is int8 (R, S, S) in -1..K-1."""
        raise NotImplementedError

    def probabilities(self, outputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Float (R, K, S, S), never decreasing with l."""
        raise NotImplementedError

    def forward(self, x: torch.Tensor, instances: list[Instances]) -> Any:
        """Losses of foreground proposals in training, else `instances` with `pred_level_prob`.

        Args:
            x: float (R, C, P, P), features of all regions of all images, in order.
            instances: one for each image: proposals with `proposal_boxes` and `gt_levels`, or
                predictions, to which `pred_level_prob` is added.
        """
        outputs = self.layers(x)
        if self.training:
            size = next(iter(outputs.values())).shape[-1]
            return self.losses(outputs, level_targets(instances, size, self.num_levels, x.device))
        prob = self.probabilities(outputs)
        for image, part in zip(instances, prob.split([len(i) for i in instances]), strict=True):
            image.pred_level_prob = part
        return instances


def level_targets(
    proposals: Sequence[Instances], size: int, num_levels: int, device: torch.device
) -> torch.Tensor:
    """Levels of the objects that proposals were matched to, inside the proposals' boxes.

    Args:
        proposals: with `proposal_boxes` and, unless empty, `gt_levels`.
        size: S.
        num_levels: K.
        device: where the result lies.

    Returns:
        int8 (R, S, S) in -1..K-1.
    """
    parts = [torch.zeros((0, size, size), dtype=torch.int8, device=device)]
    for image in proposals:
        if len(image):
            boxes = image.proposal_boxes.tensor
            parts.append(image.gt_levels.crop_and_resize(boxes, size, num_levels))
    return torch.cat(parts)


@ROI_MASK_HEAD_REGISTRY.register()
class InstanceLayeringHead(LayerHead):
    """ILM and refinement (Section 4.4).

    The instance layering module is a softmax over {not the object, level 0..K-1}. The refinement
    block reads the region's features and the sem-dist map that follows from it (its expected
    level-set value), and corrects either the nested masks of all levels ("masks") or that value,
    which thresholds at c - l turn into nested masks ("map", the literal reading; see
    `thresholded_logits` for what it cannot say).

    Args:
        input_shape: region features, those of the global layering map included.
        num_levels: K.
        channels, num_convs, norm: of the instance layering module.
        upsample: double the resolution before the last convolution of the last block, refinement
            or, without it, the instance layering module. The paper does not, its published code
            does.
        context: add a projection of the region's mean feature everywhere. Where two objects
            overlap, both regions hold the same pixels; a convolution that does not see beyond the
            overlap cannot know whose region it is in. Not in the paper.
        loss: "bce" or "ce", see `instance_layering_loss`.
        loss_weight: lambda_I of Eq. 6.
        refine: what the refinement block corrects, "masks" or "map"; "" = there is none.
        refine_channels: its channels in between.
        refine_weight: lambda_M of Eq. 6.
        threshold: c.
        sharpness: of the thresholds, see `thresholded_logits`.

    Raises:
        ValueError: another value of `refine`.
    """

    @configurable
    def __init__(
        self,
        input_shape: ShapeSpec,
        *,
        num_levels: int,
        channels: int,
        num_convs: int = 2,
        norm: str = "BN",
        upsample: bool = True,
        context: bool = True,
        loss: str = "bce",
        loss_weight: float = 1.0,
        refine: str = "masks",
        refine_channels: int = 256,
        refine_weight: float = 1.0,
        threshold: float = 0.5,
        sharpness: float = 8.0,
    ) -> None:
        super().__init__(num_levels)
        if refine not in ("", "masks", "map"):
            raise ValueError(f"refine must be '', 'masks' or 'map', got {refine!r}")
        self.layering = ConvBlock(
            input_shape.channels,
            channels,
            num_levels + 1,
            num_convs=num_convs,
            norm=norm,
            upsample=upsample and not refine,
        )
        channels_in = input_shape.channels
        projection = nn.Linear(channels_in, channels_in) if context else None
        if projection is not None:
            nn.init.zeros_(projection.weight)
            nn.init.zeros_(projection.bias)
        self.context = projection
        self.refine, self.refines = None, refine
        if refine:
            out_channels = 1 if refine == "map" else num_levels
            self.refine = ConvBlock(
                input_shape.channels + 1,
                refine_channels,
                out_channels,
                norm=norm,
                upsample=upsample,
            )
        self.loss, self.loss_weight, self.refine_weight = loss, loss_weight, refine_weight
        self.threshold, self.sharpness = threshold, sharpness

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Arguments from MODEL.ROI_MASK_HEAD and MODEL.SLN."""
        head, sln = cfg.MODEL.ROI_MASK_HEAD, cfg.MODEL.SLN
        return {
            "input_shape": input_shape,
            "num_levels": sln.NUM_LEVELS,
            "channels": head.CONV_DIM,
            "num_convs": head.NUM_CONV,
            "norm": head.NORM,
            "upsample": sln.UPSAMPLE,
            "context": sln.INSTANCE_LAYERING.CONTEXT,
            "loss": sln.INSTANCE_LAYERING.LOSS,
            "loss_weight": sln.INSTANCE_LAYERING.LOSS_WEIGHT,
            "refine": sln.REFINEMENT.OF if sln.REFINEMENT.ENABLED else "",
            "refine_channels": sln.REFINEMENT.CONV_DIM,
            "refine_weight": sln.REFINEMENT.LOSS_WEIGHT,
            "threshold": sln.THRESHOLD,
            "sharpness": sln.REFINEMENT.SHARPNESS,
        }

    def layers(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Logits "nested" (R, K, S, S), refined, and "levels" (R, K + 1, T, T), T = S or S / 2."""
        if self.context is not None:
            x = x + self.context(x.mean(dim=(2, 3)))[:, :, None, None]
        logits = self.layering(x)
        nested = nearer_logits(logits) if self.refine is None else self._refined(x, logits)
        return {"nested": nested, "levels": logits}

    def _refined(self, x: torch.Tensor, logits: torch.Tensor) -> torch.Tensor:
        assert self.refine is not None
        sem_dist = soft_level_set(logits)
        correction = self.refine(torch.cat([x, sem_dist.to(x.dtype)], dim=1))
        if self.refines == "masks":
            return nested_logits(_resized(nearer_logits(logits), correction), correction)
        return thresholded_logits(
            _resized(sem_dist, correction) + correction,
            self.num_levels,
            threshold=self.threshold,
            sharpness=self.sharpness,
        )

    def losses(
        self, outputs: dict[str, torch.Tensor], levels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """l_I and, with refinement, l_M, weighted."""
        coarser = levels.shape[-1] // outputs["levels"].shape[-1]
        own = coarser_levels(levels, coarser, self.num_levels)
        layering = instance_layering_loss(outputs["levels"], own, kind=self.loss)
        losses = {"loss_instance_layering": self.loss_weight * layering}
        if self.refine is not None:
            refined = ordinal_loss(outputs["nested"], levels)
            losses["loss_refinement"] = self.refine_weight * refined
        return losses

    def probabilities(self, outputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Of the nested masks."""
        return outputs["nested"].sigmoid()


def _resized(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    size = like.shape[-2:]
    if not len(x):
        return x.new_zeros((0, x.shape[1], *size))  # nothing cannot be interpolated
    return F.interpolate(x, size=size, mode="bilinear", align_corners=False)


@ROI_MASK_HEAD_REGISTRY.register()
class AmodalMaskHead(LayerHead):
    """Baselines: Mask R-CNN on amodal masks, with a second branch for visible masks or without.

    Args:
        amodal: Detectron2's mask head, one class.
        visible: the same for visible masks, or None (ARCNN).
    """

    @configurable
    def __init__(self, *, amodal: nn.Module, visible: nn.Module | None = None) -> None:
        super().__init__(num_levels=1 if visible is None else 2)
        self.amodal, self.visible = amodal, visible

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: ShapeSpec) -> dict[str, Any]:
        """Arguments from MODEL.ROI_MASK_HEAD; MODEL.SLN.VISIBLE_BRANCH adds the second branch."""
        head = cfg.MODEL.ROI_MASK_HEAD

        def branch() -> nn.Module:
            return MaskRCNNConvUpsampleHead(
                input_shape,
                num_classes=1,
                conv_dims=[head.CONV_DIM] * (head.NUM_CONV + 1),
                conv_norm=head.NORM,
            )

        visible = branch() if cfg.MODEL.SLN.VISIBLE_BRANCH else None
        return {"amodal": branch(), "visible": visible}

    def layers(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
        """Return "amodal" and, with a second branch, "visible": logits (R, 1, S, S)."""
        outputs = {"amodal": self.amodal.layers(x)}
        if self.visible is not None:
            outputs["visible"] = self.visible.layers(x)
        return outputs

    def losses(
        self, outputs: dict[str, torch.Tensor], levels: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Binary cross-entropy of each branch."""
        truth = {"amodal": levels >= 0, "visible": levels == 0}
        return {
            f"loss_mask_{name}": ordinal_loss(logits, torch.where(truth[name], 0, -1))
            for name, logits in outputs.items()
        }

    def probabilities(self, outputs: dict[str, torch.Tensor]) -> torch.Tensor:
        """Return (R, K, S, S); the amodal probability is at least the visible one, by clamping."""
        amodal = outputs["amodal"].float().sigmoid()
        if self.visible is None:
            return amodal
        visible = outputs["visible"].float().sigmoid()
        return torch.cat([visible, torch.maximum(amodal, visible)], dim=1)
