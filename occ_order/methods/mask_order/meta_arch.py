"""Meta-architecture of MaskOrderNet, which predicts the order of input masks."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import META_ARCH_REGISTRY, build_backbone
from detectron2.structures import ImageList
from torch import nn

from occ_order.methods.common.input_masks import input_instances, with_orders
from occ_order.methods.common.order_matrices import flat_matrices, order_matrices
from occ_order.methods.common.pair_losses import depth_loss, occlusion_loss
from occ_order.methods.mask_order.disparity import disparity_map
from occ_order.methods.mask_order.losses import log_depth_loss
from occ_order.methods.mask_order.network import (
    STRIDE,
    ImageBranch,
    ImageMaps,
    MaskOrderNetwork,
    MaskOrderOutput,
    OutlineBranch,
)

DIVISIBILITY = 32
BRANCHES = ("outlines", "image")


@META_ARCH_REGISTRY.register()
class MaskOrderNet(nn.Module):
    """Predicts the order of all pairs of input masks in one pass per image.

    In training the inputs have `instances` with gt_masks and the PairMatrix fields gt_occlusion,
    gt_depth, gt_overlap (entries of -1 are ignored), and optionally `depth_map` float32 (H, W),
    metres, 0 = unknown. The result is {"loss_occlusion", "loss_depth"} and, with the image branch,
    "loss_depth_map". At test time the result is {"instances"} for each image: the input instances
    with the fields of `occ_order.methods.common.input_masks.with_orders`, and, with the image
    branch, "disparity" float32 (height, width) of the output image, larger = nearer, up to a
    factor.
    """

    requires_masks = accepts_masks = True  # read by `OrderPredictor`

    @configurable
    def __init__(
        self,
        *,
        network: MaskOrderNetwork,
        pixel_mean: tuple[float, ...],
        pixel_std: tuple[float, ...],
        threshold: float = 0.5,
        flip: bool = False,
        loss_weights: tuple[float, float, float] = (1.0, 1.0, 1.0),
        depth_loss_weights: tuple[float, float] = (0.7, 0.3),
    ) -> None:
        """Initialise the model.

        Args:
            network: computes the logits of all pairs.
            pixel_mean, pixel_std: mean and standard deviation of the input channels.
            threshold: threshold of the occlusion probability.
            flip: whether to average with the mirrored image at test time.
            loss_weights: weights of the losses of occlusion, depth order and depth map.
            depth_loss_weights: weights of distinct and of overlapping pairs.
        """
        super().__init__()
        self.network = network
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)
        self.threshold, self.flip = threshold, flip
        self.loss_weights = tuple(loss_weights)
        self.depth_loss_weights = tuple(depth_loss_weights)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read MODEL.MASK_ORDER and MODEL.BACKBONE."""
        own = cfg.MODEL.MASK_ORDER
        common = {"hidden": own.HIDDEN, "rounds": own.ROUNDS}
        outlines = image = None
        unknown = set(own.BRANCHES) - set(BRANCHES)
        if unknown:
            raise ValueError(
                f"MODEL.MASK_ORDER.BRANCHES must be out of {BRANCHES}, got {own.BRANCHES}"
            )
        if "outlines" in own.BRANCHES:
            outlines = OutlineBranch(
                view_sizes=own.VIEW_SIZES,
                view_widths=own.VIEW_WIDTHS,
                view_channels=own.VIEW_CHANNELS,
                pairs_at_once=own.PAIRS_AT_ONCE,
                **common,
            )
        if "image" in own.BRANCHES:
            image = ImageBranch(_image_maps(cfg), own.WIDTH, **common)
        network = MaskOrderNetwork(
            outlines,
            image,
            contact_radius=own.CONTACT_RADIUS,
            image_weights=own.IMAGE_WEIGHTS,
        )
        return {
            "network": network,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "threshold": own.OCCLUSION_THRESHOLD,
            "flip": own.FLIP,
            "loss_weights": (
                own.OCCLUSION_LOSS_WEIGHT,
                own.DEPTH_LOSS_WEIGHT,
                own.DEPTH_MAP_LOSS_WEIGHT,
            ),
            "depth_loss_weights": own.DEPTH_LOSS_WEIGHTS,
        }

    @property
    def device(self) -> torch.device:
        """Device of the model."""
        return self.pixel_mean.device

    def forward(
        self, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, torch.Tensor] | list[dict[str, Any]]:
        """Return losses in training, otherwise one dict per input; see the class docstring.

        Raises:
            ValueError: an input has no instances, or they have no masks.
        """
        images = self._images(batched_inputs)
        if self.training:
            targets = [one["instances"] for one in batched_inputs]
            masks = [one.gt_masks.tensor.to(self.device) for one in targets]
            found = self.network(images.tensor, images.image_sizes, masks)
            return self._losses(found, batched_inputs)
        with torch.no_grad():
            return self._predict(images, batched_inputs)

    def _images(self, batched_inputs: list[dict[str, Any]]) -> ImageList:
        images = [one["image"].to(self.device) for one in batched_inputs]
        images = [(image - self.pixel_mean) / self.pixel_std for image in images]
        return ImageList.from_tensors(images, DIVISIBILITY)

    def _losses(
        self, found: MaskOrderOutput, batched_inputs: list[dict[str, Any]]
    ) -> dict[str, torch.Tensor]:
        targets = [one["instances"] for one in batched_inputs]
        layout = found.layout
        occlusion = flat_matrices(targets, "gt_occlusion", self.device).float()
        occlusion = torch.where(found.near & layout.off_diagonal, occlusion, -1.0)
        upper = layout.row < layout.col  # the lower triangle is redundant
        classes = flat_matrices(targets, "gt_depth", self.device).long()[upper]
        classes = torch.where((classes == 0) | (classes == 1), 1 - classes, classes)
        overlap = flat_matrices(targets, "gt_overlap", self.device)[upper]
        values = {
            "loss_occlusion": occlusion_loss(found.occlusion, occlusion),
            "loss_depth": depth_loss(
                found.depth[upper], classes, overlap, weights=self.depth_loss_weights
            ),
        }
        if found.log_depth is not None:
            values["loss_depth_map"] = log_depth_loss(
                found.log_depth[:, 0].float(), self._depth_maps(found.log_depth, batched_inputs)
            )
        return {
            name: value * weight
            for (name, value), weight in zip(values.items(), self.loss_weights, strict=False)
        }

    def _depth_maps(self, like: torch.Tensor, batched_inputs) -> torch.Tensor:
        """Return ground-truth depth subsampled to the size of `like` (I, 1, h, w), (I, h, w)."""
        result = like.new_zeros((len(like), *like.shape[2:]), dtype=torch.float32)
        for target, one in zip(result, batched_inputs, strict=True):
            if one.get("depth_map") is None:
                continue
            depth = one["depth_map"].to(self.device)
            # Subsampled, not averaged: a mean across a discontinuity is the depth of no object.
            depth = depth[STRIDE // 2 :: STRIDE, STRIDE // 2 :: STRIDE]
            target[: depth.shape[0], : depth.shape[1]] = depth
        return result

    def _predict(self, images: ImageList, batched_inputs: list[dict[str, Any]]):
        given = [input_instances(one, self.device) for one in batched_inputs]
        masks = [one.pred_masks for one in given]
        found = self.network(images.tensor, images.image_sizes, masks)
        occlusion, depth = found.occlusion.float().sigmoid(), found.depth.float().softmax(1)
        if self.flip:
            mirrored = self.network(*_mirrored(images, masks))
            occlusion = (occlusion + mirrored.occlusion.float().sigmoid()) / 2
            depth = (depth + mirrored.depth.float().softmax(1)) / 2
        orders = order_matrices(
            torch.logit(occlusion, eps=1e-7), depth.log(), found.layout, threshold=self.threshold
        )
        results = []
        for number, (one, mine, fields) in enumerate(
            zip(batched_inputs, given, orders, strict=True)
        ):
            result = {"instances": with_orders(one, mine, fields)}
            if found.log_depth is not None:
                size = result["instances"].image_size
                inner = images.image_sizes[number]
                cells = found.log_depth[number, 0].float().cpu().numpy()
                near = torch.from_numpy(disparity_map(cells, inner, size))
                result["disparity"] = near.to(self.device)
            results.append(result)
        return results


def _mirrored(images: ImageList, masks: list[torch.Tensor]):
    """Flip images and masks horizontally, each within its unpadded size."""
    tensor = torch.zeros_like(images.tensor)
    for target, image, (height, width) in zip(
        tensor, images.tensor, images.image_sizes, strict=True
    ):
        target[:, :height, :width] = image[:, :height, :width].flip(2)
    return tensor, images.image_sizes, [mask.flip(2) for mask in masks]


def _image_maps(cfg: CfgNode) -> ImageMaps:
    """Build MODEL.BACKBONE and the feature pyramid on it.

    Raises:
        ValueError: the backbone does not have outputs of stride 4, 8, 16 and 32.
    """
    backbone = build_backbone(cfg, ShapeSpec(channels=3))
    shapes = backbone.output_shape()
    named = {shape.stride: name for name, shape in shapes.items()}
    if sorted(named) != [4, 8, 16, 32]:
        raise ValueError(
            "MaskOrderNet needs a backbone with maps of stride 4, 8, 16 and 32, got "
            f"{ {name: shape.stride for name, shape in shapes.items()} }"
        )
    channels = {named[stride]: shapes[named[stride]].channels for stride in sorted(named)}
    return ImageMaps(backbone, channels, cfg.MODEL.MASK_ORDER.WIDTH)
