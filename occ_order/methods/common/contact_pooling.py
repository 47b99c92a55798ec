"""Pooling of a feature map over the contact of two instances, for all pairs at once.

The evidence for an occlusion lies along the common border of two instances. For each ordered pair
(a, b), a feature map of the image is averaged over the cells of a within a few cells of b. The
cost grows with the length of the borders, not with the number of pairs.

Shapes: I images, M instances of all images, Q ordered pairs (`instance_pairs`), C channels, h x w
cells, T contacts. A *cover*, float (M, h, w) in [0, 1], is the fraction of each cell that an
instance covers.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from occ_order.methods.common.instance_pairs import PairLayout


@dataclass(frozen=True)
class Contacts:
    """Contact cells of all ordered pairs, sorted by pair, then by cell.

    Attributes:
        cell: int64 (T,), index in the batch: image * h * w + y * w + x.
        weight: float32 (T,), fraction of the cell that the first instance of the pair covers.
        offsets: int64 (Q,), index of the first contact of each pair.
        length: float32 (Q,), sum of the weights of each pair; 0 for a pair without contact.
    """

    cell: torch.Tensor
    weight: torch.Tensor
    offsets: torch.Tensor
    length: torch.Tensor


def dilate(cover: torch.Tensor, radius: int) -> torch.Tensor:
    """Return bool (M, h, w): cells within `radius` rows and columns of a non-empty cell."""
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
    """Find the cells of each instance within `radius` cells of each other one in its image.

    Args:
        cover: float (M, h, w), in the order of the layout.
        layout: the pairs.
        radius: contact radius in cells; 0 = only cells that both cover.
    """
    near = dilate(cover, radius)
    shared = [part.sum(0, dtype=torch.int32) > 1 for part in near.split(list(layout.counts))]
    shared = torch.stack(shared)[layout.image]
    in_of, in_cell = _listed((cover > 0) & shared, layout)
    near_of, near_cell = _listed(near & shared, layout)
    # A cell near an instance is a contact with every instance that covers the cell.
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
    """Return instance and cell (index in the batch) of each True entry of bool (M, h, w)."""
    instance, cell = cells.flatten(1).nonzero(as_tuple=True)
    return instance, layout.image[instance] * cells.shape[1:].numel() + cell


def _sorted_contacts(place, cell, weight, num_pairs: int) -> Contacts:
    order = torch.argsort(place, stable=True)
    place, weight = place[order], weight[order]
    length = weight.new_zeros(num_pairs).index_add_(0, place, weight)
    number = torch.bincount(place, minlength=num_pairs)
    return Contacts(cell[order], weight, number.cumsum(0) - number, length)


def pool_contacts(features: torch.Tensor, contacts: Contacts) -> torch.Tensor:
    """Average a feature map over the contacts of each pair.

    Args:
        features: (I, C, h, w).
        contacts: contacts of the same batch.

    Returns:
        float32 (Q, C); 0 for pairs without contact.
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
    """Average a feature map over the mask of each instance.

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
    """Average a feature map over boxes of whole cells, using an integral image.

    Args:
        features: (I, C, h, w).
        image: int64 (B,), image of each box.
        boxes: int64 (B, 4), x0, y0, x1, y1 in cells, ends exclusive.

    Returns:
        float32 (B, C); 0 for an empty box.
    """
    # float64: sums over a large image exceed the precision of float32.
    sums = F.pad(features.double().cumsum(2).cumsum(3), (1, 0, 1, 0)).permute(0, 2, 3, 1)
    x0, y0, x1, y1 = boxes.unbind(1)
    total = sums[image, y1, x1] - sums[image, y0, x1] - sums[image, y1, x0] + sums[image, y0, x0]
    area = ((x1 - x0) * (y1 - y0)).clamp(min=1)
    return (total / area[:, None]).float()


def covers(masks: torch.Tensor, stride: int) -> torch.Tensor:
    """Return the fraction of each cell covered by masks bool (M, H, W).

    float32 (M, H / stride, W / stride) in [0, 1].
    """
    count, height, width = masks.shape
    rows = masks.view(torch.uint8).reshape(count, height // stride, stride, width)
    columns = sum(rows.unbind(2)).reshape(count, height // stride, width // stride, stride)
    return columns.sum(3, dtype=torch.float32) / stride**2
