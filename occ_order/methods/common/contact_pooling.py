"""Pooling of one dense map over the places where two instances meet, for all pairs at once.

Who occludes whom shows along the common border of two instances. A map that is computed once for
the image is averaged, for each ordered pair (a, b), over the cells of a that lie within a few cells
of b. The work grows with the length of the borders, not with the number of pairs.

Shapes: I images, M instances of all of them, Q ordered pairs (`instance_pairs`), C channels, h x w
cells, T contacts. A *cover* float (M, h, w) in [0, 1] says how much of a cell an instance fills.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from occ_order.methods.common.instance_pairs import PairLayout


@dataclass(frozen=True)
class Contacts:
    """Cells at which a pair of instances meets, sorted by pair, then by cell.

    Attributes:
        cell: int64 (T,), counted over the batch: image * h * w + y * w + x.
        weight: float32 (T,), how much of the cell the first of the pair fills.
        offsets: int64 (Q,), where the contacts of each pair begin.
        length: float32 (Q,), sum of the weights of each pair; 0 for a pair that does not meet.
    """

    cell: torch.Tensor
    weight: torch.Tensor
    offsets: torch.Tensor
    length: torch.Tensor


def dilate(cover: torch.Tensor, radius: int) -> torch.Tensor:
    """bool (M, h, w): cells within `radius` rows and columns of a cell that is not empty."""
    near = cover > 0
    for _ in range(radius):
        wider = near.clone()
        wider[:, 1:] |= near[:, :-1]
        wider[:, :-1] |= near[:, 1:]
        near = wider.clone()
        near[:, :, 1:] |= wider[:, :, :-1]
        near[:, :, :-1] |= wider[:, :, 1:]
    return near


def find_contacts(cover: torch.Tensor, layout: PairLayout, radius: int) -> Contacts:
    """Where each instance lies within `radius` cells of each other one of its image.

    Args:
        cover: float (M, h, w), in the order of the layout.
        layout: the pairs.
        radius: in cells; 0 = only cells that both fill.
    """
    near = dilate(cover, radius)
    shared = [part.sum(0, dtype=torch.int32) > 1 for part in near.split(list(layout.counts))]
    shared = torch.stack(shared)[layout.image]
    in_of, in_cell = _listed((cover > 0) & shared, layout)
    near_of, near_cell = _listed(near & shared, layout)
    # Each cell that is near an instance meets all instances that lie inside that cell.
    inside = torch.bincount(in_cell, minlength=len(layout.counts) * cover.shape[1:].numel())
    first = (inside.cumsum(0) - inside)[near_cell]
    which = torch.repeat_interleave(inside[near_cell])
    many = inside[near_cell]
    step = torch.arange(len(which), device=cover.device) - (many.cumsum(0) - many)[which]
    entry = torch.argsort(in_cell, stable=True)[first[which] + step]
    row, cell = in_of[entry], in_cell[entry]
    keep = row != near_of[which]
    row, col, cell = row[keep], near_of[which][keep], cell[keep]
    weight = cover.flatten(1)[row, cell % cover.shape[1:].numel()].float()
    return _sorted_contacts(layout.place(row, col), cell, weight, len(layout.row))


def _listed(cells: torch.Tensor, layout: PairLayout) -> tuple[torch.Tensor, torch.Tensor]:
    """Instance and cell (counted over the batch) of each true entry of bool (M, h, w)."""
    instance, cell = cells.flatten(1).nonzero(as_tuple=True)
    return instance, layout.image[instance] * cells.shape[1:].numel() + cell


def _sorted_contacts(place, cell, weight, num_pairs: int) -> Contacts:
    order = torch.argsort(place, stable=True)
    place, weight = place[order], weight[order]
    length = weight.new_zeros(num_pairs).index_add_(0, place, weight)
    number = torch.bincount(place, minlength=num_pairs)
    return Contacts(cell[order], weight, number.cumsum(0) - number, length)


def pool_contacts(features: torch.Tensor, contacts: Contacts) -> torch.Tensor:
    """Mean of a map over the contacts of each pair.

    Args:
        features: (I, C, h, w).
        contacts: of the same batch.

    Returns:
        float32 (Q, C); 0 for pairs that do not meet.
    """
    table = features.permute(0, 2, 3, 1).flatten(0, 2).float()
    sums = F.embedding_bag(
        contacts.cell,
        table,
        contacts.offsets,
        mode="sum",
        per_sample_weights=contacts.weight,
    )
    return sums / contacts.length.clamp(min=1e-6)[:, None]


def pool_masks(features: torch.Tensor, cover: torch.Tensor, layout: PairLayout) -> torch.Tensor:
    """Mean of a map over each instance.

    Args:
        features: (I, C, h, w).
        cover: float (M, h, w).
        layout: the instances.

    Returns:
        float32 (M, C); 0 for an empty mask.
    """
    covers = cover.flatten(1).float().split(list(layout.counts))
    maps = features.flatten(2).float()
    sums = [mask @ values.T for mask, values in zip(covers, maps, strict=True)]
    if not sums:
        return features.new_zeros((0, features.shape[1]))
    area = cover.flatten(1).sum(1).clamp(min=1e-6)
    return torch.cat(sums) / area[:, None]


def pool_boxes(features: torch.Tensor, image: torch.Tensor, boxes: torch.Tensor) -> torch.Tensor:
    """Mean of a map over boxes of whole cells, from sums over all cells above and to the left.

    Args:
        features: (I, C, h, w).
        image: int64 (B,), image of each box.
        boxes: int64 (B, 4), x0, y0, x1, y1 in cells, ends exclusive.

    Returns:
        float32 (B, C); 0 for an empty box.
    """
    # Sums over a large image need more digits than float32 has.
    sums = F.pad(features.double().cumsum(2).cumsum(3), (1, 0, 1, 0)).permute(0, 2, 3, 1)
    x0, y0, x1, y1 = boxes.unbind(1)
    total = sums[image, y1, x1] - sums[image, y0, x1] - sums[image, y1, x0] + sums[image, y0, x0]
    area = ((x1 - x0) * (y1 - y0)).clamp(min=1)
    return (total / area[:, None]).float()


def covers(masks: torch.Tensor, stride: int) -> torch.Tensor:
    """float32 (M, H / stride, W / stride): how much of a cell each of bool (M, H, W) fills."""
    count, height, width = masks.shape
    rows = masks.view(torch.uint8).reshape(count, height // stride, stride, width)
    columns = sum(rows.unbind(2)).reshape(count, height // stride, width // stride, stride)
    return columns.sum(3, dtype=torch.float32) / stride**2
