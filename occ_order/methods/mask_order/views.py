"""Views of pairs: square crops of their masks, the input of `ViewNet`.

Two instances are *near* if they are within a few cells of each other. Only near pairs are cropped,
so the cost grows with the number of contacts, not of pairs. Each near pair has two views: one of
both instances, one of their contact, the cells where they are near.

Shapes: I images, M instances of all images, Q ordered pairs with the diagonal
(`occ_order.methods.common.instance_pairs`), P unordered near pairs, S the side of a view, H x W
pixels, h x w cells of `stride` pixels. Boxes are float32 (P, 4) ``x0, y0, x1, y1`` in pixels, ends
exclusive. A square is a square box; it may extend beyond the image, which is padded with 0.
"""

from __future__ import annotations

import torch
from torchvision.ops import roi_align

from occ_order.methods.common.contact_pooling import Contacts
from occ_order.methods.common.instance_pairs import PairLayout
from occ_order.methods.common.pair_crops import square_around, union_boxes

CONTACT_MARGIN = 1.5
"""Minimum side of the view of a contact, relative to the longer side of the contact's box."""

CONTACT_SHARE = 0.25
"""Minimum side of the view of a contact, relative to the view of the whole pair."""


def near_pairs(contacts: Contacts, layout: PairLayout) -> torch.Tensor:
    """Return the indices of the near pairs with first < second, int64 (P,), ascending.

    Args:
        contacts: result of `occ_order.methods.common.contact_pooling.find_contacts`.
        layout: the pairs.
    """
    meets = (contacts.length + contacts.length[layout.swapped]) > 0
    return (meets & (layout.row < layout.col)).nonzero()[:, 0]


def contact_boxes(
    contacts: Contacts, layout: PairLayout, near: torch.Tensor, size: tuple[int, int], stride: int
) -> torch.Tensor:
    """Compute the box around the contact of each near pair, float32 (P, 4).

    Args:
        contacts: contacts of the ordered pairs; those of a pair and its reverse are merged.
        layout: the pairs.
        near: int64 (P,), result of `near_pairs`.
        size: (h, w), size of the map in cells.
        stride: side of a cell in pixels.
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
    """Compute the squares of the two views of each near pair.

    Args:
        boxes: float32 (M, 4), boxes of the masks.
        contact: float32 (P, 4), result of `contact_boxes`.
        pairs: int64 (P, 2), first and second instance.

    Returns:
        Square of the whole pair, float32 (P, 4)
        (`occ_order.methods.common.pair_crops.square_around`), and of the contact, float32 (P, 4):
        its side is at least `CONTACT_MARGIN` times the contact's box and `CONTACT_SHARE` times the
        side of the whole pair, and at most the latter.
    """
    whole = square_around(union_boxes(boxes, pairs)).float()
    whole[:, 2].clamp_(min=1.0)
    low, high = contact[:, :2], contact[:, 2:]
    side = CONTACT_MARGIN * (high - low).amax(1)
    side = torch.minimum(torch.maximum(side, CONTACT_SHARE * whole[:, 2]), whole[:, 2])
    return _corners(whole), _corners(torch.cat([(low + high) / 2, side[:, None]], 1))


def jittered_squares(squares: torch.Tensor, shift: float, scale: float) -> torch.Tensor:
    """Randomly shift and scale squares, for training.

    Args:
        squares: float32 (P, 4).
        shift: maximum absolute shift relative to the side.
        scale: maximum scale factor of the side; the minimum is 1 / scale.
    """
    side = (squares[:, 2] - squares[:, 0])[:, None]
    noise = torch.rand((len(squares), 3), device=squares.device) * 2 - 1
    centre = (squares[:, :2] + squares[:, 2:]) / 2 + noise[:, :2] * shift * side
    return _corners(torch.cat([centre, side * scale ** noise[:, 2:]], 1))


def _corners(squares: torch.Tensor) -> torch.Tensor:
    """Convert (P, 3) centre x, centre y, side to corners (P, 4)."""
    half = squares[:, 2:] / 2
    return torch.cat([squares[:, :2] - half, squares[:, :2] + half], 1)


def crop(
    maps: torch.Tensor, index: torch.Tensor, squares: torch.Tensor, size: int, stride: float = 1.0
) -> torch.Tensor:
    """Crop squares from maps by bilinear interpolation.

    Args:
        maps: float32 (K, C, H / stride, W / stride).
        index: int64 (P,), map of each crop.
        squares: float32 (P, 4) in pixels.
        size: S.
        stride: stride of the maps in pixels.

    Returns:
        float32 (P, C, S, S); 0 outside the maps.
    """
    rois = torch.cat([index[:, None].to(maps), squares.to(maps)], 1)
    return roi_align(maps, rois, size, 1.0 / stride, sampling_ratio=2, aligned=True)


def rivals(cover: torch.Tensor, layout: PairLayout) -> torch.Tensor:
    """Find duplicate detections: pairs of instances with mostly the same mask, bool (M, M).

    Modal masks are disjoint, but masks of detections can overlap. Two instances of an image are
    rivals if their intersection is more than half of the smaller one, counted in cells covered by
    more than half. The mask of a rival is left out of the views of an instance.

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
        masks: float32 (M, H / stride, W / stride), fraction of each cell that an instance covers.
        stride: side of a cell in pixels.
        layout: the instances.
        pairs: int64 (P, 2).
        squares: float32 (P, 4).
        size: S.
        rival: bool (M, M), result of `rivals`.

    Returns:
        float32 (2, P, 4, S, S). Channels: first instance, second instance, union of all others
        except rivals of either, inside of the image; [1] has the first two exchanged.
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
    """List the rivals of either instance of each pair, except the pair itself.

    Returns:
        Row of `pairs`, int64 (R,), and rival, int64 (R,).
    """
    either = rival[pairs].any(1)
    either[torch.arange(len(pairs)), pairs[:, 0]] = False
    either[torch.arange(len(pairs)), pairs[:, 1]] = False
    return tuple(either.nonzero().unbind(1))
