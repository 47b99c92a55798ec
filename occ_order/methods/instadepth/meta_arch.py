"""InstaDepthNet^d and ^{o,d}: disparity map and pairwise orders (CVPR 2022, Section 4.2).

The disparity map depends only on the image; the orders also depend on masks. The disparity map is
trained by the disparity loss, the encoder additionally by the losses of the order heads.

Shapes: B images, P pairs, M masks of all images, (S, S') input size of the network.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.modeling.backbone.resnet import ResNet
from detectron2.structures import Instances
from detectron2.utils.events import get_event_storage
from torch import Tensor, nn

from occ_order.methods.common.backbone.mini_resnet import make_mini_resnet
from occ_order.methods.common.input_masks import input_instances, with_orders
from occ_order.methods.common.pair_classifier import init_xavier
from occ_order.methods.common.pair_crops import resize_images, resize_masks
from occ_order.methods.common.pair_labels import (
    average_depth,
    average_occlusion,
    depth_labels,
    depth_matrices,
    occlusion_labels,
    occlusion_matrices,
)
from occ_order.methods.common.pair_losses import depth_loss, occlusion_loss
from occ_order.methods.instadepth.disparity_net import STAGES, DisparityNet
from occ_order.methods.instadepth.losses import (
    closer_sign,
    erode,
    instance_disparity_loss,
    order_violation,
    smoothness_loss,
)
from occ_order.methods.instadepth.order_heads import (
    NUM_OUTPUTS,
    MaskOrderHead,
    answer_in_chunks,
    answer_pairs,
)
from occ_order.order.pairs import all_pairs, both_directions

STRIDE = 32  # the input size is a multiple of this


@dataclass
class TrainingPairs:
    """Ground-truth pairs of a batch.

    Attributes:
        masks: bool (M, S, S'), all masks that `pairs` may refer to.
        pairs: int64 (P, 2), indices into `masks`.
        image: int64 (P,), index of the image in the batch.
        depth: int64 (P,), 1 first closer, 0 farther, 2 equal, -1 not annotated.
        overlap: int64 (P,), 1 overlapping depth ranges, 0 distinct, -1 unknown.
        labels: targets of the heads: "depth" int64 (2 P,), "occlusion" float (2 P, 2); row P + k is
            pair k reversed.
    """

    masks: Tensor
    pairs: Tensor
    image_index: Tensor
    depth: Tensor
    overlap: Tensor
    labels: dict[str, Tensor]


@META_ARCH_REGISTRY.register()
class InstaDepthNet(nn.Module):
    """MiDaS with order heads.

    Input: `image` (3, H, W), 0 .. 255; in training, and at test time to predict orders,
    `instances` with masks (see `occ_order.methods.common.input_masks`). In training `pairs` (P, 2)
    are the sampled pairs (`occ_order.methods.instadepth.mapper.DisparityMapper`). Output at test
    time: `disparity` float32 (height, width), larger = nearer, and, for an input with instances,
    `instances` in the same order with `depth` and `occlusion`, depending on the heads.
    """

    accepts_masks = True  # read by `OrderPredictor`

    @configurable
    def __init__(
        self,
        *,
        disparity_net: DisparityNet,
        heads: dict[str, MaskOrderHead],
        input_size: Sequence[int],
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        input_format: str = "RGB",
        pairs_at_once: int = 32,
        loss_weights: dict[str, float],
        depth_weights: Sequence[float] = (),
        smoothness_form: str = "paper",
        disparity_options: dict[str, float] | None = None,
        all_pairs: bool = False,
        erode_masks: bool = True,
        double_softmax: bool = False,
    ) -> None:
        """Initialise the model; see MODEL.DISPARITY in the config for the arguments.

        Raises:
            ValueError: the input size is not a multiple of 32.
        """
        super().__init__()
        if len(input_size) not in (0, 2) or any(side % STRIDE or side <= 0 for side in input_size):
            raise ValueError(
                f"MODEL.DISPARITY.INPUT_SIZE must be [height, width] in multiples of {STRIDE}, or "
                f"[], got {list(input_size)}"
            )
        self.disparity_net = disparity_net
        self.heads = nn.ModuleDict(heads)
        self.input_size = tuple(input_size)
        self.input_format = input_format
        self.pairs_at_once = pairs_at_once
        self.loss_weights = loss_weights
        self.depth_weights, self.smoothness_form = depth_weights, smoothness_form
        self.disparity_options = disparity_options or {}
        self.all_pairs = all_pairs
        self.erode_masks = erode_masks
        self.double_softmax = double_softmax
        for name, values in (("pixel_mean", pixel_mean), ("pixel_std", pixel_std)):
            column = torch.tensor(values, dtype=torch.float32)[:, None, None]
            self.register_buffer(name, column, persistent=False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read MODEL.DISPARITY, MODEL.BACKBONE (the encoder) and the backbone's keys."""
        own, loss = cfg.MODEL.DISPARITY, cfg.MODEL.DISPARITY.LOSS
        encoder = build_backbone(cfg)
        disparity_net = DisparityNet(
            encoder,
            features=own.FEATURES,
            output_channels=own.OUTPUT_CHANNELS,
            activation=own.ACTIVATION,
        )
        return {
            "disparity_net": disparity_net,
            "heads": {name: build_order_head(cfg, name, encoder) for name in own.HEADS},
            "input_size": own.INPUT_SIZE,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "input_format": cfg.INPUT.FORMAT,
            "pairs_at_once": own.PAIRS_AT_ONCE,
            "loss_weights": {
                name: loss[name.upper()]
                for name in ("occlusion", "depth", "disparity", "smoothness")
            },
            "depth_weights": (loss.DISTINCT, loss.OVERLAP) if loss.BY_OVERLAP else (),
            "smoothness_form": loss.SMOOTHNESS_FORM,
            "disparity_options": {"margin": loss.MARGIN, "temperature": loss.TEMPERATURE},
            "all_pairs": loss.ALL_PAIRS,
            "erode_masks": loss.ERODE,
            "double_softmax": loss.DOUBLE_SOFTMAX,
        }

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.pixel_mean.device

    def forward(self, batched_inputs: list[dict[str, Any]]) -> dict[str, Tensor] | list[dict]:
        """Return the losses in training, else one output per image.

        Raises:
            ValueError: training without instances or without an input size.
        """
        if not self.training:
            return self.inference(batched_inputs)
        if not self.input_size:
            raise ValueError("training needs MODEL.DISPARITY.INPUT_SIZE")
        images = torch.stack([self.stretched(x["image"]) for x in batched_inputs])
        disparity, features = self.disparity_net(images)
        pairs = self.training_pairs(batched_inputs)
        for_map = self.training_pairs(batched_inputs, every=True) if self.all_pairs else pairs
        losses = self.map_losses(disparity, images, for_map)
        return losses | self.head_losses(features, pairs)

    def stretched(self, image: Tensor) -> Tensor:
        """Normalise and resize an image to the input size of the network, float (3, S, S')."""
        size = self.input_size or [
            max(STRIDE, round(side / STRIDE) * STRIDE) for side in image.shape[-2:]
        ]
        image = image.to(self.device).float()
        if tuple(image.shape[-2:]) != tuple(size):
            # As published: bilinear in training, bicubic at test time, both without antialiasing.
            image = resize_images(image, size, mode="bilinear" if self.training else "bicubic")
        return (image - self.pixel_mean) / self.pixel_std

    # --- training

    def training_pairs(
        self, batched_inputs: list[dict[str, Any]], *, every: bool = False
    ) -> TrainingPairs:
        """Return the sampled `pairs` int64 (P, 2) of each input, or all pairs, with labels."""
        masks, parts, start = [], [], 0
        for index, x in enumerate(batched_inputs):
            found = input_instances(x, self.device)
            pairs = None if every else x.get("pairs")
            if pairs is None:
                pairs = torch.from_numpy(all_pairs(len(found)))
            pairs = pairs.to(self.device)
            part = _annotations(x["instances"], pairs)
            part["pairs"] = pairs + start
            part["image_index"] = pairs.new_full((len(pairs),), index)
            parts.append(part)
            masks.append(resize_masks(found.pred_masks, self.input_size))
            start += len(found)
        joined = {name: [part[name] for part in parts] for name in parts[0]}
        labels = {
            name: torch.cat(joined.pop(f"{name}_labels"), dim=1).flatten(0, 1)
            for name in ("depth", "occlusion")
        }
        rest = {name: torch.cat(values) for name, values in joined.items()}
        return TrainingPairs(masks=torch.cat(masks), labels=labels, **rest)

    def map_losses(self, disparity: Tensor, images: Tensor, pairs: TrainingPairs) -> dict:
        """Compute the losses of the disparity map; log Equation 1 as `order_violation`."""
        masks = erode(pairs.masks) if self.erode_masks else pairs.masks
        first, second = masks[pairs.pairs].unbind(1)
        sign = closer_sign(pairs.depth, pairs.overlap)
        maps = disparity[pairs.image_index]
        if len(sign) and sign.any():
            violation = order_violation(maps, first, second, sign)[sign != 0].mean()
            get_event_storage().put_scalar("order_violation", violation.item())
        weights = self.loss_weights
        losses = {}
        if weights["disparity"]:
            loss = instance_disparity_loss(maps, first, second, sign, **self.disparity_options)
            losses["loss_disparity"] = weights["disparity"] * loss
        if weights["smoothness"]:
            loss = smoothness_loss(disparity, images, form=self.smoothness_form)
            losses["loss_smoothness"] = weights["smoothness"] * loss
        return losses

    def head_losses(self, features: dict[str, Tensor], pairs: TrainingPairs) -> dict[str, Tensor]:
        """Compute the losses of the order heads, over both directions of all pairs."""
        if not self.heads:
            return {}
        both = torch.cat([pairs.pairs, pairs.pairs.flip(1)])
        if len(both):
            where = pairs.image_index.repeat(2)
            logits = answer_pairs(self.heads, pairs.masks, features, both, where)
        else:  # batch normalisation fails without pairs; the zero keeps all weights in the graph
            zero = sum(weight.sum() for weight in self.heads.parameters()) * 0.0
            logits = {name: zero.expand(0, NUM_OUTPUTS[name]) for name in self.heads}
        losses = {}
        for name in self.heads:
            weight, target = self.loss_weights[name], pairs.labels[name]
            if name == "depth":
                loss = depth_loss(
                    logits[name],
                    target,
                    pairs.overlap.repeat(2),
                    weights=self.depth_weights,
                    double_softmax=self.double_softmax,
                )
            else:
                loss = occlusion_loss(logits[name], target)
            losses[f"loss_{name}"] = 2 * weight * loss  # published: sum over directions
        return losses

    # --- inference

    @torch.no_grad()
    def inference(self, batched_inputs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Predict the disparity of each image, and the orders of inputs with instances."""
        outputs = []
        for x in batched_inputs:
            images = self.stretched(x["image"])[None]
            disparity, features = self.disparity_net(images)
            size = (x.get("height", x["image"].shape[1]), x.get("width", x["image"].shape[2]))
            result: dict[str, Any] = {"disparity": _fit(disparity, size)}
            if "instances" in x:
                found = input_instances(x, self.device)
                orders = self.orders(found.pred_masks, features, images.shape[-2:])
                result["instances"] = with_orders(x, found, orders)
            outputs.append(result)
        return outputs

    def orders(
        self, masks: Tensor, features: dict[str, Tensor], input_size: Sequence[int]
    ) -> dict[str, Tensor]:
        """Predict the orders of all pairs of input masks, bool (N, H, W), of one image.

        Returns:
            "depth" and "occlusion" int8 (N, N) and their probabilities, depending on the heads.
        """
        count = len(masks)
        pairs = torch.from_numpy(all_pairs(count)).to(self.device)
        both = torch.from_numpy(both_directions(pairs.cpu().numpy())).to(self.device)
        masks = resize_masks(masks, input_size)
        logits = answer_in_chunks(self.heads, masks, features, both, self.pairs_at_once)
        orders = {}
        if "depth" in logits:
            found = depth_matrices(average_depth(logits["depth"]), pairs, count)
            orders["depth"], orders["depth_probability"] = found
        if "occlusion" in logits:
            found = occlusion_matrices(average_occlusion(logits["occlusion"]), pairs, count)
            orders["occlusion"], orders["occlusion_probability"] = found
        return orders


def _annotations(instances: Instances, pairs: Tensor) -> dict[str, Tensor]:
    """Return depth and overlap (P,) of pairs, and labels (2, P, ...) of both directions."""
    depth, overlap, occlusion = (
        instances.get(f"gt_{name}").tensor.to(pairs.device).long()
        for name in ("depth", "overlap", "occlusion")
    )
    both = torch.cat([pairs, pairs.flip(1)])
    first, second = pairs.unbind(1)
    return {
        "depth": depth[first, second],
        "overlap": overlap[first, second],
        "depth_labels": depth_labels(depth, both).view(2, -1),
        "occlusion_labels": occlusion_labels(occlusion, both).view(2, -1, 2),
    }


def build_order_head(cfg: CfgNode, name: str, encoder: nn.Module) -> MaskOrderHead:
    """Build an order head whose ResNet matches the encoder.

    With a ResNet encoder, it is built like the encoder, as in Figure A3. With other encoders, such
    as those of timm, it is a mini ResNet whose stages have the encoder's channels; the last stage,
    to which no features are added, has twice the channels of the one before.

    Args:
        cfg: MODEL.BACKBONE.NAME also builds the ResNet, with two input channels, without groups and
            with depth MODEL.DISPARITY.HEAD_DEPTH unless that is 0. For other encoders,
            MODEL.MINI_RESNET and MODEL.RESNETS.NORM are used.
        name: "depth" or "occlusion".
        encoder: encoder of the disparity network.

    Raises:
        ValueError: unknown name or initialisation, or stages that do not match the encoder.
    """
    own = cfg.MODEL.DISPARITY
    if name not in NUM_OUTPUTS:
        raise ValueError(f"MODEL.DISPARITY.HEADS must be some of {[*NUM_OUTPUTS]}, got {name!r}")
    if own.HEAD_INIT not in ("default", "xavier"):
        raise ValueError(f"MODEL.DISPARITY.HEAD_INIT must be default or xavier: {own.HEAD_INIT!r}")
    head = MaskOrderHead(_head_resnet(cfg, encoder), NUM_OUTPUTS[name], encoder.output_shape())
    if own.HEAD_INIT == "xavier":
        init_xavier(head)
    return head


def _head_resnet(cfg: CfgNode, encoder: nn.Module) -> ResNet:
    """Build a ResNet with two input channels whose stages res2 to res4 match the encoder's."""
    own = cfg.MODEL.DISPARITY
    if not isinstance(encoder, ResNet):
        fed = [encoder.output_shape()[name].channels for name in STAGES[:-1]]
        return make_mini_resnet(
            width=cfg.MODEL.MINI_RESNET.WIDTH,
            blocks=cfg.MODEL.MINI_RESNET.BLOCKS,
            in_channels=2,
            out_features=STAGES,
            norm=cfg.MODEL.RESNETS.NORM,
            channels=[*fed, 2 * fed[-1]],
        )
    cfg = cfg.clone()
    cfg.defrost()
    resnets = cfg.MODEL.RESNETS
    resnets.OUT_FEATURES = list(STAGES)
    if own.HEAD_DEPTH:
        resnets.DEPTH, resnets.NUM_GROUPS, resnets.WIDTH_PER_GROUP = own.HEAD_DEPTH, 1, 64
    cfg.MODEL.BACKBONE.FREEZE_AT = 0
    return build_backbone(cfg, ShapeSpec(channels=2))


def _fit(disparity: Tensor, size: Sequence[int]) -> Tensor:
    """Resize a float (1, S, S') map bilinearly to float32 (H, W)."""
    if tuple(disparity.shape[-2:]) == tuple(size):
        return disparity[0].float()
    return F.interpolate(disparity[None].float(), tuple(size), mode="bilinear")[0, 0]
