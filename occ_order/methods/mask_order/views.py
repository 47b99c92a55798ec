"""Views of pairs: square crops of masks, image and features, the input of `ViewNet`.

Two instances are *near* if they are within a few cells of each other. Only near pairs are cropped,
so the cost grows with the number of contacts, not of pairs. Each near pair has two views: one of
both instances, one of their contact, the cells where they are near.

Shapes: I images, M instances of all of them, Q ordered pairs with the diagonal
(`occ_order.methods.common.instance_pairs`), P unordered near pairs, S the side of a view, H x W
pixels, h x w cells of `stride` pixels. Boxes are float32 (P, 4) ``x0, y0, x1, y1`` in pixels, ends
exclusive. A square is such a box, too; it may reach beyond the image, where everything is 0.
"""

from __future__ import annotations

import torch
from torchvision.ops import roi_align

from occ_order.methods.common.contact_pooling import Contacts
from occ_order.methods.common.instance_pairs import PairLayout
from occ_order.methods.common.pair_crops import square_around, union_boxes

CONTACT_MARGIN = 1.5
"""Sides of the box around a contact that the view of the contact has at least."""

CONTACT_SHARE = 0.25
"""Least side of the view of a contact, in sides of the view of the whole pair."""


def near_pairs(contacts: Contacts, layout: PairLayout) -> torch.Tensor:
    """Return the places of the pairs (first < second) that meet, int64 (P,), ascending.

    Args:
        contacts: of `occ_order.methods.common.contact_pooling.find_contacts`.
        layout: the pairs.
    """
    meets = (contacts.length + contacts.length[layout.swapped]) > 0
    return (meets & (layout.row < layout.col)).nonzero()[:, 0]


def contact_boxes(
    contacts: Contacts, layout: PairLayout, near: torch.Tensor, size: tuple[int, int], stride: int
) -> torch.Tensor:
    """Return the box around the cells in which two instances meet, float32 (P, 4).

    Args:
        contacts: cells of each ordered pair; those of a pair and of its reverse are joined.
        layout: the pairs.
        near: int64 (P,) of `near_pairs`.
        size: (h, w), cells of the map.
        stride: pixels a side of a cell.
    """
    end = contacts.offsets.new_tensor([len(contacts.cell)])
    pair = torch.repeat_interleave(torch.diff(contacts.offsets, append=end))
    pair = torch.minimum(pair, layout.swapped[pair])
    cell = contacts.cell % (size[0] * size[1])
    at = torch.stack([cell % size[1], cell // size[1]], 1)
    index = pair[:, None].expand(-1, 2)
    low = at.new_full((len(layout.row), 2), max(size))
    low = low.scatter_reduce(0, index, at, "amin")
    high = torch.zeros_like(low).scatter_reduce(0, index, at + 1, "amax")
    return torch.cat([low, high], 1)[near].float() * stride


def pair_squares(
    boxes: torch.Tensor, contact: torch.Tensor, pairs: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the squares of the two views of each near pair.

    Args:
        boxes: float32 (M, 4) around the masks.
        contact: float32 (P, 4) of `contact_boxes`.
        pairs: int64 (P, 2), first and second instance.

    Returns:
        float32 (P, 4) of the whole pair (`occ_order.methods.common.pair_crops.square_around`) and
        of the contact: at least `CONTACT_MARGIN` times its box and `CONTACT_SHARE` of the whole
        pair's side, at most that side.
    """
    whole = square_around(union_boxes(boxes, pairs)).float()
    whole[:, 2].clamp_(min=1.0)
    low, high = contact[:, :2], contact[:, 2:]
    side = CONTACT_MARGIN * (high - low).amax(1)
    side = torch.minimum(torch.maximum(side, CONTACT_SHARE * whole[:, 2]), whole[:, 2])
    return _corners(whole), _corners(torch.cat([(low + high) / 2, side[:, None]], 1))


def jittered_squares(squares: torch.Tensor, shift: float, scale: float) -> torch.Tensor:
    """Return squares moved and scaled at random, for training.

    Args:
        squares: float32 (P, 4).
        shift: largest shift in either direction, in sides.
        scale: largest factor of the side; the smallest is 1 / scale.
    """
    side = (squares[:, 2] - squares[:, 0])[:, None]
    noise = torch.rand((len(squares), 3), device=squares.device) * 2 - 1
    centre = (squares[:, :2] + squares[:, 2:]) / 2 + noise[:, :2] * shift * side
    return _corners(torch.cat([centre, side * scale ** noise[:, 2:]], 1))


def _corners(squares: torch.Tensor) -> torch.Tensor:
    """Centre x, centre y, side (P, 3) -> corners (P, 4)."""
    half = squares[:, 2:] / 2
    return torch.cat([squares[:, :2] - half, squares[:, :2] + half], 1)


def crop(
    maps: torch.Tensor, index: torch.Tensor, squares: torch.Tensor, size: int, stride: float = 1.0
) -> torch.Tensor:
    """Return square crops of maps, by bilinear interpolation.

    Args:
        maps: float32 (K, C, H / stride, W / stride).
        index: int64 (P,), which of the maps each crop is of.
        squares: float32 (P, 4) in pixels.
        size: S.
        stride: pixels a side of an element of the maps.

    Returns:
        float32 (P, C, S, S); 0 beyond the maps.
    """
    rois = torch.cat([index[:, None].to(maps), squares.to(maps)], 1)
    return roi_align(maps, rois, size, 1.0 / stride, sampling_ratio=2, aligned=True)


def rivals(cover: torch.Tensor, layout: PairLayout) -> torch.Tensor:
    """Find duplicate detections: pairs of instances with the same region, bool (M, M).

    Modal masks share no pixel, but masks of detections can. Two instances of an image are rivals if
    they have more than half of the cells of the smaller one in common (cells filled by more than
    half). The mask of a rival is left out of the views of an instance.

    Args:
        cover: float32 (M, h, w), share of a cell that each mask fills, in [0, 1].
        layout: the instances.
    """
    filled = (cover > 0.5).flatten(1).float()
    shared = filled @ filled.T
    area = shared.diagonal()
    same = layout.image[:, None] == layout.image
    same.fill_diagonal_(False)
    return same & (shared > 0.5 * torch.minimum(area[:, None], area))


def mask_views(
    masks: torch.Tensor,
    stride: float,
    layout: PairLayout,
    pairs: torch.Tensor,
    squares: torch.Tensor,
    size: int,
    rival: torch.Tensor,
) -> torch.Tensor:
    """Crop the masks of pairs to views, once with either instance as the first.

    Args:
        masks: float32 (M, H / stride, W / stride), how much of an element each instance fills.
        stride: pixels a side of an element.
        layout: the instances.
        pairs: int64 (P, 2).
        squares: float32 (P, 4).
        size: S.
        rival: bool (M, M) of `rivals`.

    Returns:
        float32 (2, P, 4, S, S): the first instance, the second, all others together but the rivals
        of either, and the image's area; [1] has the first two exchanged.
    """
    image = layout.image[pairs[:, 0]]
    first, second = (crop(masks[:, None], part, squares, size, stride) for part in pairs.unbind(1))
    counts = list(layout.counts)
    covered = torch.stack([part.sum(0) for part in masks.split(counts)])
    area = torch.stack([covered, torch.ones_like(covered)], 1)
    covered, area = crop(area, image, squares, size, stride).split(1, 1)
    pair, left_out = _rivals_of(rival, pairs)
    covered = covered.index_add(
        0, pair, crop(masks[:, None], left_out, squares[pair], size, stride), alpha=-1
    )
    others = (covered - first - second).clamp(0, 1)
    context = torch.cat([others, area], 1)
    forward = torch.cat([first, second, context], 1)
    return torch.stack([forward, torch.cat([second, first, context], 1)])


def _rivals_of(rival: torch.Tensor, pairs: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the rivals of either instance of pairs, beside the pair itself.

    Returns:
        int64 (R,) the pair, a row of `pairs`; int64 (R,) the rival.
    """
    either = rival[pairs].any(1)
    either[torch.arange(len(pairs)), pairs[:, 0]] = False
    either[torch.arange(len(pairs)), pairs[:, 1]] = False
    return tuple(either.nonzero().unbind(1))
