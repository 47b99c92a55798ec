"""Export of the order head as a graph of tensor operations, with any number of instances.

The order head collects lists of contact cells between instances
(`occ_order.methods.common.contact_pooling`), whose lengths depend on the values of the masks, which
exporters do not support. This version evaluates all cells for every pair instead. Results agree up
to rounding; time and memory are proportional to pairs times cells.

Shapes: N instances, Q = N * N ordered pairs, C channels, h x w cells.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import nn

from occ_order.methods.common.instance_pairs import PairLayout
from occ_order.methods.common.order_relation import instance_geometry, pair_geometry
from occ_order.methods.common.pair_crops import union_boxes
from occ_order.methods.order_head.meta_arch import OrderRCNN


class DenseOrderHead(nn.Module):
    """Backbone and order head of an `OrderRCNN`, for one image with input masks."""

    def __init__(self, model: OrderRCNN, size: Sequence[int]) -> None:
        """Share the weights of the model.

        Args:
            model: the model; its detector is omitted.
            size: H and W of the images, multiples of 32.
        """
        super().__init__()
        self.backbone, self.head = model.backbone, model.roi_heads.order_head
        self.register_buffer("mean", model.pixel_mean.clone())
        self.register_buffer("std", model.pixel_std.clone())
        self.register_buffer("size", torch.tensor([[*size]], dtype=torch.float32))

    def forward(
        self, image: torch.Tensor, masks: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the logits of all ordered pairs.

        Args:
            image: float (1, 3, H, W), 0 .. 255.
            masks: float (N, H, W), 1 inside.

        Returns:
            occlusion (N, N) and depth (N, N, 3); diagonals are undefined.
        """
        head, level, given = self.head, self.head.map.depth, masks.shape[0]
        masks = at_least_one(masks)
        image = (image - self.mean) / self.std
        shared = self.backbone(image)[head.in_feature]
        dense, coarse = head.map(image, outline_cues(masks), shared)
        cover = F.avg_pool2d(masks[None], head.map.stride)[0]
        fine = F.avg_pool2d(cover[None], 2**head.map.feature_level)[0]
        layout, boxes = square_layout(cover), cell_boxes(cover)
        area = cover.sum((1, 2))
        length, meeting = meet(cover, dense, head.contact_radius)
        union = union_boxes(widened(boxes, level), layout.pairs)
        pairs = [meeting, meeting[layout.swapped], box_means(coarse, union)]
        pairs.append(pair_geometry(boxes, area, length, layout))
        stride = head.map.stride
        size = self.size.expand(masks.shape[0], 2)
        geometry = instance_geometry(boxes * stride, area * stride**2, size)
        instances = [mask_means(dense, cover), mask_means(shared, fine), geometry]
        occlusion, depth = head.relation(
            torch.cat(instances, 1), torch.cat(pairs, 1), layout, gathered=gather_square
        )
        number = masks.shape[0]
        occlusion, depth = occlusion.reshape(number, -1), depth.reshape(number, -1, 3)
        return occlusion[:given, :given], depth[:given, :given]


def at_least_one(masks: torch.Tensor) -> torch.Tensor:
    """Return masks (N, ...), or one empty mask if N = 0: maxima over no mask are not defined."""
    number = masks.shape[0]
    count = number + 1 // (number + 1)  # max(number, 1) would become a constant in the graph
    return torch.cat([masks, masks.new_zeros((1, *masks.shape[1:]))])[:count]


def outline_cues(masks: torch.Tensor) -> torch.Tensor:
    """Compute `occ_order.methods.common.order_map.mask_cues` for one image.

    Args:
        masks: float (N, H, W), 0 or 1.

    Returns:
        float (1, 4, H, W).
    """
    right = F.pad((masks[:, :, :-1] - masks[:, :, 1:]).abs(), (0, 1))
    below = F.pad((masks[:, :-1] - masks[:, 1:]).abs(), (0, 0, 0, 1))
    twice = (masks.sum(0) > 1).to(masks.dtype)
    return torch.stack([masks.amax(0), twice, right.amax(0), below.amax(0)])[None]


def square_layout(cover: torch.Tensor) -> PairLayout:
    """Return the pairs of one image; no shape is read as a number, which tracing would fix."""
    position = torch.ones_like(cover[:, 0, 0], dtype=torch.int64).cumsum(0) - 1
    number = position[-1] + 1
    grid = position[:, None] + torch.zeros_like(position)[None]
    row, col = grid.flatten(), grid.T.flatten()
    start = position * number
    swapped = col * number + row
    return PairLayout((), torch.zeros_like(position), start, position, row, col, swapped)


def cell_boxes(cover: torch.Tensor) -> torch.Tensor:
    """Return boxes x0, y0, x1, y1 in cells, float (N, 4), ends exclusive; 0 for empty masks."""
    ends = []
    for used in (cover.amax(1) > 0, cover.amax(2) > 0):
        place = torch.arange(used.shape[1], device=cover.device).to(cover.dtype)
        first = torch.where(used, place, place[-1:] + 1).amin(1)
        end = torch.where(used, place + 1, 0.0).amax(1)
        ends.append((torch.minimum(first, end), end))
    (x0, x1), (y0, y1) = ends
    return torch.stack([x0, y0, x1, y1], 1)


def widened(boxes: torch.Tensor, level: int) -> torch.Tensor:
    """Convert boxes float (N, 4) to cells of a map `level` times half as fine, rounded outwards."""
    cell = 2**level
    return torch.cat([(boxes[:, :2] / cell).floor(), (boxes[:, 2:] / cell).ceil()], 1)


def meet(
    cover: torch.Tensor, dense: torch.Tensor, radius: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the contact length of all pairs, and the mean of the map over each contact.

    Args:
        cover: float (N, h, w).
        dense: float (1, C, h, w).
        radius: in cells.

    Returns:
        float (Q,), 0 on the diagonal, and float (Q, C), 0 for pairs without contact.
    """
    filled = (cover > 0).to(cover.dtype)
    near = F.max_pool2d(filled[None], 2 * radius + 1, stride=1, padding=radius)[0].flatten(1)
    cells = cover.flatten(1)
    place = torch.ones_like(cells[:, 0]).cumsum(0)
    other = (place[:, None] != place[None]).to(cells.dtype)
    both = (cells[:, None] * near[None] * other[..., None]).flatten(0, 1)
    length = both.sum(1)
    sums = both @ dense[0].flatten(1).T
    return length, sums / length.clamp(min=1e-6)[:, None]


def mask_means(features: torch.Tensor, cover: torch.Tensor) -> torch.Tensor:
    """Average a map (1, C, h', w') over each cover (N, h, w); return float (N, C).

    The map may have more padding on the right and bottom.
    """
    height, width = cover.shape[1:]
    values = features[0, :, :height, :width].flatten(1)
    return cover.flatten(1) @ values.T / cover.sum((1, 2)).clamp(min=1e-6)[:, None]


def box_means(features: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Average a map (1, C, h, w) over boxes of whole cells; return float (Q, C), 0 if empty."""
    sides = []
    for axis, length in ((1, features.shape[2]), (0, features.shape[3])):
        place = torch.arange(length, device=boxes.device).to(boxes.dtype)
        low, high = boxes[:, axis : axis + 1], boxes[:, axis + 2 : axis + 3]
        sides.append(((place >= low) & (place < high)).to(features.dtype))
    rows, columns = sides
    strips = torch.einsum("qh,chw->qcw", rows, features[0])
    total = (strips * columns[:, None]).sum(2)
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return total / area.clamp(min=1)[:, None]


def gather_square(
    seen: torch.Tensor, state: torch.Tensor, layout: PairLayout
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute `gather_pairs` of the order head for the pairs of one image."""
    number = state.shape[0]
    other = layout.off_diagonal.to(seen.dtype).reshape(number, number, 1)
    table = seen.reshape(number, number, -1) * other  # never negative
    return table.sum(1) / other.sum(1).clamp(min=1), table.amax(1)
