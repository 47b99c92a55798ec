"""Mask R-CNN for partially labelled images.

In data with, say, 80 labelled classes, other objects such as lamps are unlabelled but not
background. Unmatched anchors and proposals that are mostly on unlabelled area are therefore ignored
by the losses of the RPN and the box classifier, except for a random fraction.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import (
    PROPOSAL_GENERATOR_REGISTRY,
    ROI_HEADS_REGISTRY,
    StandardROIHeads,
)
from detectron2.modeling.matcher import Matcher
from detectron2.modeling.proposal_generator import RPN
from detectron2.structures import Boxes, Instances, pairwise_iou
from torch import Tensor


@dataclass(frozen=True)
class Unlabelled:
    """Rule that ignores anchors and proposals on unlabelled area in training.

    Attributes:
        fraction: a box is on unlabelled area if more than this fraction of it is unlabelled.
        background_chance: probability that such a box counts as background anyway; 1 is
            Detectron2's Mask R-CNN.
    """

    fraction: float = 0.5
    background_chance: float = 0.0

    @classmethod
    def from_cfg(cls, cfg: CfgNode) -> Unlabelled:
        """Read MODEL.UNLABELLED."""
        own = cfg.MODEL.UNLABELLED
        return cls(fraction=own.FRACTION, background_chance=own.BACKGROUND_CHANCE)

    def trained_on(self, boxes: Boxes, truth: Instances, matcher: Matcher) -> Tensor:
        """Select the boxes that contribute to the losses.

        Args:
            boxes: N anchors or proposals of an image.
            truth: its labelled instances, with `gt_boxes` and the ImageArea `unlabelled`.
            matcher: labels boxes as foreground (1) or background (0) by their IoU with `gt_boxes`.

        Returns:
            bool (N,): False for background on unlabelled area, except for a random fraction
            `background_chance`.

        Raises:
            ValueError: the field `unlabelled` is missing.
        """
        if not truth.has("unlabelled"):
            raise ValueError(
                "the labelled instances have no field 'unlabelled'; INPUT.MAPPER must be "
                "PartlyLabelledMapper"
            )
        _, labels = matcher(pairwise_iou(truth.gt_boxes, boxes))
        fractions = truth.unlabelled.fractions(boxes.tensor)
        left_out = (labels == 0) & (fractions > self.fraction)
        return ~left_out | (torch.rand_like(fractions) < self.background_chance)


@PROPOSAL_GENERATOR_REGISTRY.register()
class PartlyLabelledRPN(RPN):
    """Detectron2's RPN that ignores background anchors on unlabelled area."""

    @configurable
    def __init__(self, *, unlabelled: Unlabelled, **rest: Any) -> None:
        """Initialise RPN with the additional argument `unlabelled`."""
        super().__init__(**rest)
        self.unlabelled = unlabelled

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Read MODEL.RPN and MODEL.UNLABELLED."""
        return {**super().from_config(cfg, input_shape), "unlabelled": Unlabelled.from_cfg(cfg)}

    @torch.no_grad()
    def label_and_sample_anchors(
        self, anchors: list[Boxes], gt_instances: list[Instances]
    ) -> tuple[list[Tensor], list[Tensor]]:
        """Label anchors as RPN; unmatched ones on unlabelled area are -1 (ignored)."""
        every = Boxes.cat(anchors)
        labels, matched = [], []
        for truth in gt_instances:
            chosen = self.unlabelled.trained_on(every, truth, self.anchor_matcher)
            own_labels, own_matched = super().label_and_sample_anchors([every[chosen]], [truth])
            labels.append(own_labels[0].new_full((len(every),), -1))
            labels[-1][chosen] = own_labels[0]
            matched.append(torch.zeros_like(every.tensor))
            matched[-1][chosen] = own_matched[0]
        return labels, matched


@ROI_HEADS_REGISTRY.register()
class PartlyLabelledROIHeads(StandardROIHeads):
    """Detectron2's StandardROIHeads that ignore background proposals on unlabelled area."""

    @configurable
    def __init__(self, *, unlabelled: Unlabelled, **rest: Any) -> None:
        """Initialise StandardROIHeads with the additional argument `unlabelled`."""
        super().__init__(**rest)
        self.unlabelled = unlabelled

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict[str, Any]:
        """Read MODEL.ROI_* and MODEL.UNLABELLED."""
        return {**super().from_config(cfg, input_shape), "unlabelled": Unlabelled.from_cfg(cfg)}

    @torch.no_grad()
    def label_and_sample_proposals(
        self, proposals: list[Instances], targets: list[Instances]
    ) -> list[Instances]:
        """Sample proposals like StandardROIHeads, without unmatched ones on unlabelled area."""
        chosen = [
            boxes[self.unlabelled.trained_on(boxes.proposal_boxes, truth, self.proposal_matcher)]
            for boxes, truth in zip(proposals, targets, strict=True)
        ]
        return super().label_and_sample_proposals(chosen, targets)
