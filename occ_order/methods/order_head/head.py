"""The pairwise order head: predicts occlusion and depth of all pairs of an image in one pass.

Shapes: I images, M instances of all of them, Q ordered pairs with the diagonal
(`occ_order.methods.common.instance_pairs`), H x W pixels, h x w cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from torch import nn

from occ_order.methods.common.contact_pooling import (
    covers,
    find_contacts,
    pool_boxes,
    pool_contacts,
    pool_masks,
)
from occ_order.methods.common.instance_pairs import PairLayout, canonical_order, pair_layout
from occ_order.methods.common.order_map import OrderMap, mask_cues
from occ_order.methods.common.order_relation import (
    INSTANCE_CUES,
    PAIR_CUES,
    PairRelation,
    instance_geometry,
    pair_geometry,
)
from occ_order.methods.common.pair_crops import mask_boxes, union_boxes


class OrderHead(nn.Module):
    """Predicts the order of all pairs of instances from their masks and the backbone features.

    A dense feature map of the image (`OrderMap`) is pooled over each mask (instance features), over
    the union box of each pair and over the contact of each ordered pair. A small network
    (`PairRelation`) computes logits from these and the geometry of the two masks. Only pooling and
    that network grow with the number of pairs, and both are matrix products.
    """

    @configurable
    def __init__(
        self,
        input_shape: dict[str, ShapeSpec],
        *,
        in_feature: str = "",
        stride: int = 4,
        width: int = 32,
        hidden: int = 64,
        rounds: int = 2,
        contact_radius: int = 1,
        use_image: bool = True,
        map_norm: str = "BN",
    ) -> None:
        """Initialise the layers; arguments and defaults are those of MODEL.ORDER_HEAD.

        Raises:
            ValueError: the backbone has no map `in_feature`, or its stride does not fit `stride`.
        """
        super().__init__()
        in_feature = in_feature or min(input_shape, key=lambda name: input_shape[name].stride)
        if in_feature not in input_shape:
            raise ValueError(
                f"MODEL.ORDER_HEAD.IN_FEATURE is {in_feature!r}, the backbone has "
                f"{sorted(input_shape)}: name one of them, or none to take the finest"
            )
        shape = input_shape[in_feature]
        self.in_feature, self.contact_radius = in_feature, contact_radius
        self.map = OrderMap(
            stride=stride,
            width=width,
            in_channels=3 if use_image else 0,
            feature_channels=shape.channels,
            feature_stride=shape.stride,
            norm=map_norm,
        )
        self.relation = PairRelation(
            width + shape.channels + INSTANCE_CUES,
            2 * width + self.map.widths[-1] + PAIR_CUES,
            hidden,
            rounds,
        )

    @classmethod
    def from_config(cls, cfg: CfgNode, input_shape: dict[str, ShapeSpec]) -> dict:
        """Return the arguments of `__init__` from MODEL.ORDER_HEAD."""
        own = cfg.MODEL.ORDER_HEAD
        return {
            "input_shape": input_shape,
            "in_feature": own.IN_FEATURE,
            "stride": own.STRIDE,
            "width": own.WIDTH,
            "hidden": own.HIDDEN,
            "rounds": own.ROUNDS,
            "contact_radius": own.CONTACT_RADIUS,
            "use_image": own.USE_IMAGE,
            "map_norm": own.NORM,
        }

    def forward(
        self,
        images: torch.Tensor,
        sizes: Sequence[tuple[int, int]],
        features: dict[str, torch.Tensor],
        masks: Sequence[torch.Tensor],
    ) -> tuple[torch.Tensor, torch.Tensor, PairLayout]:
        """Compute the logits of all ordered pairs.

        Args:
            images: float32 (I, 3, H, W), normalised and padded.
            sizes: height and width of each image without its padding.
            features: {name: (I, C, h, w)}, maps of the backbone.
            masks: for each image bool (n, height, width).

        Returns:
            occlusion (Q,), depth (Q, 3), as `PairRelation` describes them, and their layout.
        """
        layout = pair_layout([len(mask) for mask in masks], images.device)
        shared = features[self.in_feature]
        if len(layout.image) == 0:
            nothing = 0.0 * (shared.sum() + sum(p.sum() for p in self.parameters()))
            return nothing.expand(0), nothing.expand(0, 3), layout
        images = _pad_to_multiple(images, self.map.size_divisibility)
        stacked = _stacked(masks, images.shape[-2:])
        dense, coarse = self.map(images, mask_cues(stacked, layout.counts), shared)
        cover = covers(stacked, self.map.stride)
        # Rounding errors depend on the row index in a matrix product. Sorting the instances by
        # their masks makes the output bitwise independent of the order of the input masks.
        order = canonical_order(cover, layout)
        scale = torch.tensor(sizes, device=images.device, dtype=torch.float32)[layout.image]
        occlusion, depth = self._relate(dense, coarse, shared, cover[order], scale, layout)
        rank = torch.argsort(order)
        asked = layout.place(rank[layout.row], rank[layout.col])
        return occlusion[asked], depth[asked], layout

    def _relate(self, dense, coarse, shared, cover, size, layout: PairLayout):
        """Pool features and geometry of instances and pairs; return logits as `forward`.

        Args:
            dense: (I, width, h, w), fine map of `OrderMap`.
            coarse: coarse map of `OrderMap`.
            shared: map of the backbone.
            cover: float (M, h, w), fraction of each cell that each mask covers.
            size: float32 (M, 2), height and width of the image of each instance.
            layout: the ordered pairs.
        """
        stride = self.map.stride
        boxes = mask_boxes(cover).long()
        area = cover.flatten(1).sum(1)
        contacts = find_contacts(cover, layout, self.contact_radius)
        meeting = pool_contacts(dense, contacts)
        union = union_boxes(outward(boxes, self.map.depth), layout.pairs)
        around = pool_boxes(coarse, layout.image[layout.row], union)
        boxes = boxes.float()
        pairs = [meeting, meeting[layout.swapped], around]
        pairs.append(pair_geometry(boxes, area, contacts.length, layout))
        instances = [
            pool_masks(dense, cover, layout),
            pool_masks(shared, _shrunk(cover, shared.shape[-2:], self.map.feature_level), layout),
            instance_geometry(boxes * stride, area * stride**2, size),
        ]
        return self.relation(torch.cat(instances, 1), torch.cat(pairs, 1), layout)


def outward(boxes: torch.Tensor, level: int) -> torch.Tensor:
    """Convert int64 boxes (M, 4) to cells of 2**level, rounded outwards."""
    return torch.cat([boxes[:, :2] >> level, (boxes[:, 2:] + (1 << level) - 1) >> level], 1)


def _pad_to_multiple(images: torch.Tensor, multiple: int) -> torch.Tensor:
    height, width = images.shape[-2:]
    return F.pad(images, (0, -width % multiple, 0, -height % multiple))


def _stacked(masks: Sequence[torch.Tensor], size: tuple[int, int]) -> torch.Tensor:
    """Stack all masks to bool (M, *size), padded with False at the right and below."""
    parts = [F.pad(m, (0, size[1] - m.shape[2], 0, size[0] - m.shape[1])) for m in masks]
    return torch.cat(parts)


def _shrunk(cover: torch.Tensor, size: tuple[int, int], level: int) -> torch.Tensor:
    """Average `cover` (M, h, w) over cells of 2**level, padded with 0 to `size`."""
    if level:
        cover = F.avg_pool2d(cover[None], 1 << level)[0]
    height, width = cover.shape[1:]
    return F.pad(cover, (0, size[1] - width, 0, size[0] - height))
