"""Head of the OOSIS network: class, orientation and boundary logits from backbone features.

Section 3.1 of "Occlusion-Ordered Semantic Instance Segmentation", based on PSPNet. Shapes: ``N``
images, ``K`` classes with background as class 0, ``t`` stride of the features, ``H = t k + 1``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import Conv2d, ShapeSpec, get_norm
from detectron2.modeling import SEM_SEG_HEADS_REGISTRY
from torch import nn

from occ_order.methods.oosis.layers import ChannelDeconv, JointDeconv, PyramidPooling
from occ_order.methods.oosis.losses import IGNORE, boundary_loss, orientation_loss, semantic_loss

Features = Mapping[str, torch.Tensor]
Targets = Mapping[str, torch.Tensor]

TASKS = ("semantic", "orientation", "boundary")
UPSAMPLINGS = ("joint", "separate")


class Logits(NamedTuple):
    """Logits of each pixel, before softmax or sigmoid.

    Attributes:
        semantic: (N, K, H, W), s.
        orientation: (N, 4, H, W), e: left, right, top, bottom.
        boundary: (N, H, W), b.
        order: (N, L + 1, H, W), order labels as classes (Section 5.1), or None.
    """

    semantic: torch.Tensor
    orientation: torch.Tensor
    boundary: torch.Tensor
    order: torch.Tensor | None = None


@SEM_SEG_HEADS_REGISTRY.register()
class OOSISHead(nn.Module):
    """Pyramid pooling, bottleneck, logit layers of s, b and e, and their deconvolutions.

    As an extension of PSPNet, higher-resolution features can be added (`skip_features`): in small
    images, boundaries are closer to each other than a cell of stride 8.
    """

    @configurable
    def __init__(
        self,
        input_shape: Mapping[str, ShapeSpec],
        *,
        num_classes: int,
        in_feature: str = "res5",
        aux_feature: str = "res4",
        skip_features: Sequence[str] = (),
        ppm_channels: int = 512,
        bins: Sequence[int] = (1, 2, 3, 6),
        channels: int = 512,
        aux_channels: int = 256,
        dropout: float = 0.1,
        norm: str = "BN",
        upsampling: str = "joint",
        joint_depth_kernel: int = 9,
        subpixel: bool = False,
        order_labels: int = 0,
        loss_weights: Sequence[float] = (1.0, 1.0, 1.0),
        boundary_loss_name: str = "weighted_ce",
        boundary_options: Mapping[str, Any] | None = None,
        orientation_norm: str = "pixels",
        aux_weight: float = 0.4,
        aux_tasks: Sequence[str] = ("semantic",),
    ) -> None:
        """Build the layers.

        Args:
            input_shape: channels and strides of the backbone's features.
            num_classes: K - 1, without background.
            in_feature: feature map for pooling and classification.
            aux_feature: feature map of the auxiliary head, used in training; "" = none.
            skip_features: finer features to add, from coarse to fine; none in the paper.
            ppm_channels: channels of each pooled branch.
            bins: each branch pools to bins x bins regions.
            channels: channels of the bottleneck, the input of the logit layers.
            aux_channels: channels of the auxiliary head.
            dropout: dropout probability of the bottleneck's channels.
            norm: name of a normalisation in Detectron2.
            upsampling: of e and b, one of `UPSAMPLINGS`: a joint 3-D deconvolution over [e, b], or
                a 2-D one for each of the five maps.
            joint_depth_kernel: depth of the joint kernel.
            subpixel: add a residual that each cell of the feature map predicts for its own t x t
                pixels; bilinear kernels alone cannot represent lines of one pixel. Not in the
                paper.
            order_labels: L, maximum order label predicted as a class; 0 = not predicted.
            loss_weights: weights of the semantic, boundary and orientation terms.
            boundary_loss_name: one of `occ_order.methods.oosis.losses.BOUNDARY_LOSSES`.
            boundary_options: "weight", "focus", "tversky" and "combo_alpha" of
                `occ_order.methods.oosis.losses.boundary_loss`.
            orientation_norm: "pixels" or "boundary".
            aux_weight: weight of the auxiliary loss.
            aux_tasks: tasks of the auxiliary head, some of `TASKS`.

        Raises:
            ValueError: unknown auxiliary task or upsampling.
        """
        super().__init__()
        if upsampling not in UPSAMPLINGS:
            raise ValueError(f"upsampling: got {upsampling!r}, expected one of {UPSAMPLINGS}")
        unknown = set(aux_tasks) - set(TASKS)
        if unknown:
            raise ValueError(f"auxiliary tasks: got {sorted(unknown)}, expected some of {TASKS}")
        self.in_feature, self.skip_features = in_feature, tuple(skip_features)
        self.num_logits = (num_classes + 1, 4, 1)
        self.stride = input_shape[(in_feature, *skip_features)[-1]].stride
        source = input_shape[in_feature].channels
        self.pool = PyramidPooling(source, ppm_channels, bins, lambda n: get_norm(norm, n))
        self.bottleneck = _conv3(self.pool.out_channels, channels, norm)
        self.dropout = nn.Dropout2d(dropout)
        self.skips = nn.ModuleList(
            Conv2d(
                input_shape[name].channels, channels, 1, bias=False, norm=get_norm(norm, channels)
            )
            for name in skip_features
        )
        self.merge = _conv3(channels, channels, norm) if skip_features else None
        self.semantic = nn.Conv2d(channels, num_classes + 1, 1)
        self.boundary = nn.Conv2d(channels, 1, 1)
        self.orientation = nn.Conv2d(channels, 4, 1)
        self.order = nn.Conv2d(channels, order_labels + 1, 1) if order_labels else None
        self.semantic_up = ChannelDeconv(num_classes + 1, self.stride)
        self.joint_up = (
            JointDeconv(5, self.stride, joint_depth_kernel)
            if upsampling == "joint"
            else ChannelDeconv(5, self.stride)
        )
        self.order_up = ChannelDeconv(order_labels + 1, self.stride) if order_labels else None
        self.subpixel = None
        if subpixel:
            outputs = sum(self.num_logits) + (order_labels + 1 if order_labels else 0)
            self.subpixel = nn.Conv2d(channels, outputs * self.stride**2, 1)
            nn.init.normal_(self.subpixel.weight, std=0.01)  # initially equal to plain upsampling
            nn.init.zeros_(self.subpixel.bias)
        self.aux = None
        self.aux_feature, self.aux_tasks, self.aux_weight = aux_feature, aux_tasks, aux_weight
        if aux_feature and aux_tasks and aux_weight:
            outputs = sum(
                n for n, task in zip(self.num_logits, TASKS, strict=True) if task in aux_tasks
            )
            self.aux = nn.Sequential(
                _conv3(input_shape[aux_feature].channels, aux_channels, norm),
                nn.Dropout2d(dropout),
                nn.Conv2d(aux_channels, outputs, 1),
            )
        self.loss_weights = dict(
            zip(("semantic", "boundary", "orientation"), loss_weights, strict=True)
        )
        self.boundary_loss_name = boundary_loss_name
        self.boundary_options = dict(boundary_options or {})
        self.orientation_norm = orientation_norm

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: Mapping[str, ShapeSpec]) -> dict:
        """Read MODEL.OOSIS.*."""
        own = cfg.MODEL.OOSIS
        return {
            "input_shape": input_shape,
            "num_classes": own.NUM_CLASSES,
            "in_feature": own.IN_FEATURE,
            "aux_feature": own.AUX_FEATURE,
            "skip_features": own.SKIP_FEATURES,
            "ppm_channels": own.PPM_CHANNELS,
            "bins": own.BINS,
            "channels": own.CHANNELS,
            "aux_channels": own.AUX_CHANNELS,
            "dropout": own.DROPOUT,
            "norm": own.NORM,
            "upsampling": own.UPSAMPLING,
            "joint_depth_kernel": own.JOINT_DEPTH_KERNEL,
            "subpixel": own.SUBPIXEL,
            "order_labels": own.ORDER_LABELS if own.DECODER == "classes" else 0,
            "loss_weights": own.LOSS_WEIGHTS,
            "boundary_loss_name": own.BOUNDARY_LOSS,
            "boundary_options": {
                "weight": own.BOUNDARY_WEIGHT,
                "focus": own.FOCUS,
                "tversky": (own.TVERSKY_ALPHA, own.TVERSKY_BETA),
                "combo_alpha": own.COMBO_ALPHA,
            },
            "orientation_norm": own.ORIENT_NORM,
            "aux_weight": own.AUX_WEIGHT,
            "aux_tasks": own.AUX_TASKS,
        }

    def forward(self, features: Features) -> Logits:
        """Return the logits at full resolution, H = t k + 1 for features of k + 1 rows."""
        x = self.bottleneck(self.pool(features[self.in_feature]))
        for name, lateral in zip(self.skip_features, self.skips, strict=True):
            finer = lateral(features[name])
            x = finer + F.interpolate(x, finer.shape[-2:], mode="bilinear", align_corners=True)
        if self.merge is not None:
            x = self.merge(x)
        x = self.dropout(x)
        maps = [self.semantic_up(self.semantic(x))]
        maps.append(self.joint_up(torch.cat([self.orientation(x), self.boundary(x)], 1)))
        if self.order is not None and self.order_up is not None:
            maps.append(self.order_up(self.order(x)))
        sizes = [self.num_logits[0], 4, 1, *(part.shape[1] for part in maps[2:])]
        stack = torch.cat(maps, 1)
        if self.subpixel is not None:
            cells = F.pixel_shuffle(self.subpixel(x), self.stride)
            stack = stack + cells[..., : stack.shape[-2], : stack.shape[-1]]
        semantic, orientation, boundary, *order = stack.split(sizes, 1)
        return Logits(semantic, orientation, boundary[:, 0], order[0] if order else None)

    def losses(self, features: Features, targets: Targets) -> dict[str, torch.Tensor]:
        """Return the terms of Eq. 4 and those of the auxiliary head.

        Args:
            features: features of the backbone.
            targets: "semantic" int64 (N, H, W), "boundary" float (N, H, W), "orientation" float
                (N, 4, H, W); with order labels also "order" int64 (N, H, W). Optional: "unknown"
                float (N, H, W), 1 where boundary and orientation are ignored.

        Returns:
            Name -> scalar loss.
        """
        logits = self(features)
        losses = {f"loss_{task}": loss for task, loss in self._terms(logits, targets).items()}
        if logits.order is not None:
            losses["loss_order"] = semantic_loss(logits.order, targets["order"])
        if self.aux is not None:
            auxiliary = self._auxiliary(features[self.aux_feature], targets["semantic"].shape[-2:])
            terms = self._terms(auxiliary, targets)
            losses["loss_auxiliary"] = self.aux_weight * sum(terms[task] for task in self.aux_tasks)
        return losses

    def _terms(self, logits: Logits, targets: Targets) -> dict[str, torch.Tensor]:
        """Return the weighted losses of the tasks with logits."""
        semantic, boundary = targets["semantic"], targets["boundary"]
        valid = semantic != IGNORE
        if "unknown" in targets:
            valid = valid & (targets["unknown"] == 0)
        terms = {}
        if logits.semantic is not None:
            terms["semantic"] = semantic_loss(logits.semantic, semantic)
        if logits.boundary is not None:
            terms["boundary"] = boundary_loss(
                logits.boundary,
                boundary,
                valid,
                kind=self.boundary_loss_name,
                **self.boundary_options,
            )
        if logits.orientation is not None:
            terms["orientation"] = orientation_loss(
                logits.orientation,
                boundary,
                targets["orientation"],
                valid,
                norm=self.orientation_norm,
            )
        return {task: self.loss_weights[task] * loss for task, loss in terms.items()}

    def _auxiliary(self, feature: torch.Tensor, size: tuple[int, int]) -> Logits:
        """Return the auxiliary head's logits at full resolution; None for tasks without one."""
        assert self.aux is not None
        x = F.interpolate(self.aux(feature), size=size, mode="bilinear", align_corners=True)
        numbers = [
            n if task in self.aux_tasks else 0
            for n, task in zip(self.num_logits, TASKS, strict=True)
        ]
        semantic, orientation, boundary = (
            part if part.shape[1] else None for part in x.split(numbers, 1)
        )
        return Logits(semantic, orientation, None if boundary is None else boundary[:, 0])


def _conv3(in_channels: int, channels: int, norm: str) -> Conv2d:
    return Conv2d(
        in_channels,
        channels,
        3,
        padding=1,
        bias=not norm,
        norm=get_norm(norm, channels),
        activation=F.relu,
    )
