"""Crops of pairs of instances (Lee & Park, Section 4.1, "patch" input), without a loop over pairs.

Shapes: P pairs or boxes, N instances, S the side of the network's input. Boxes are float (P, 4)
``x0, y0, x1, y1`` in pixels of the image, x1 and y1 exclusive; a *square* is int64 (P, 3) ``x, y,
side``: its upper left pixel and its side. It may extend beyond the image, which is padded with 0.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.nn import functional as F

EXPANSION = 3.0
"""Area of the square around an instance relative to its box, in the published test code."""


def mask_boxes(masks: torch.Tensor) -> torch.Tensor:
    """Compute the tight boxes of masks.

    Args:
        masks: (N, H, W), nonzero = inside.

    Returns:
        float32 (N, 4); zeros for an empty mask.
    """
    count, height, width = masks.shape
    if height * width == 0:
        return masks.new_zeros((count, 4), dtype=torch.float32)
    inside = (masks != 0).to(torch.uint8)  # any over bools is a hundred times slower
    columns, rows = inside.amax(dim=1), inside.amax(dim=2)
    ends = [
        columns.argmax(1),
        rows.argmax(1),
        width - columns.flip(1).argmax(1),
        height - rows.flip(1).argmax(1),
    ]
    return torch.stack(ends, dim=1).float() * columns.amax(1, keepdim=True)


def union_boxes(boxes: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """Return the box around both instances of every pair.

    Args:
        boxes: float (N, 4).
        pairs: int64 (P, 2) indices into `boxes`.

    Returns:
        float (P, 4).
    """
    first, second = boxes[pairs[:, 0]], boxes[pairs[:, 1]]
    low = torch.minimum(first[:, :2], second[:, :2])
    high = torch.maximum(first[:, 2:], second[:, 2:])
    return torch.cat([low, high], dim=1)


def square_around(boxes: torch.Tensor, *, area: float = 2.0, margin: float = 1.1) -> torch.Tensor:
    """Return the square of a crop: centre of the box, side max(sqrt(area w h), margin w, margin h).

    Args:
        boxes: float (P, 4).
        area: area of the square relative to the box, unless the box is too elongated.
        margin: minimum side relative to the longer side of the box.

    Returns:
        float64 (P, 3): centre x, centre y, side.
    """
    low, high = boxes[:, :2].double(), boxes[:, 2:].double()
    width, height = (high - low).unbind(1)
    side = torch.sqrt(area * width * height)
    side = torch.maximum(side, margin * torch.maximum(width, height))
    return torch.cat([(low + high) / 2, side[:, None]], dim=1)


def jittered(squares: torch.Tensor, jitter: torch.Tensor) -> torch.Tensor:
    """Shift and scale squares for random crops.

    Args:
        squares: float64 (P, 3) centre x, centre y, side.
        jitter: float (P, 3), shift of x and y relative to the side, and scale of the objects: the
            centre moves by ``shift * side``, then the side is divided by the scale (training:
            U(-0.2, 0.2) and U(0.8, 1.2)).

    Returns:
        float64 (P, 3).
    """
    jitter = jitter.to(squares)
    centre = squares[:, :2] + jitter[:, :2] * squares[:, 2:]
    return torch.cat([centre, squares[:, 2:] / jitter[:, 2:]], dim=1)


def on_pixels(squares: torch.Tensor) -> torch.Tensor:
    """Convert squares to integer upper left pixel and side, truncated towards zero as published.

    Args:
        squares: float64 (P, 3) centre x, centre y, side.

    Returns:
        int64 (P, 3) x, y, side; the side is at least 1.
    """
    corner = (squares[:, :2] - squares[:, 2:] / 2).long()
    return torch.cat([corner, squares[:, 2:].long().clamp(min=1)], dim=1)


def expanded_boxes(boxes: torch.Tensor, *, area: float = EXPANSION) -> torch.Tensor:
    """Return the square around each instance, as a box.

    The published test code uses these instead of the boxes to compute the crop of a pair (double
    expansion, reproduced by ``compat``); PCNet-M crops a single one of them.

    Args:
        boxes: float (N, 4).
        area: area of the square relative to the box.

    Returns:
        float32 (N, 4) with whole coordinates.
    """
    x, y, side = on_pixels(square_around(boxes, area=area)).unbind(1)
    return torch.stack([x, y, x + side, y + side], dim=1).float()


def pair_squares(
    boxes: torch.Tensor,
    pairs: torch.Tensor,
    *,
    jitter: torch.Tensor | None = None,
    expand_first: bool = False,
) -> torch.Tensor:
    """Return the crop of every pair: around the box of both, side max(sqrt(2 w h), 1.1 w, 1.1 h).

    Args:
        boxes: float (N, 4) tight boxes.
        pairs: int64 (P, 2); a pair and its reverse have the same crop.
        jitter: float (P, 3), see `jittered`; None = no jitter.
        expand_first: use the squares of `expanded_boxes` instead of the boxes.

    Returns:
        int64 (P, 3) x, y, side.
    """
    if expand_first:
        boxes = expanded_boxes(boxes)
    squares = square_around(union_boxes(boxes, pairs))
    return on_pixels(squares if jitter is None else jittered(squares, jitter))


def crop_masks(
    masks: torch.Tensor, index: torch.Tensor, squares: torch.Tensor, size: int
) -> torch.Tensor:
    """Crop and resize masks by nearest-neighbour interpolation.

    Target pixel t is source pixel floor(t side / S).

    Args:
        masks: (N, H, W) of any dtype.
        index: int64 (P,), mask of each crop.
        squares: int64 (P, 3).
        size: S.

    Returns:
        (P, S, S) of the dtype of `masks`; 0 outside the image.
    """
    columns, inside_x = _nearest(squares[:, 0], squares[:, 2], size, masks.shape[2])
    rows, inside_y = _nearest(squares[:, 1], squares[:, 2], size, masks.shape[1])
    if masks.shape[1] * masks.shape[2] == 0:
        return masks.new_zeros((index.shape[0], size, size))
    picked = masks[index[:, None, None], rows[:, :, None], columns[:, None, :]]
    return picked * (inside_y[:, :, None] & inside_x[:, None, :]).to(picked.dtype)


def _nearest(
    start: torch.Tensor, side: torch.Tensor, size: int, limit: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return source indices clamped to the image, int64 (P, S), and which are inside, bool."""
    steps = torch.arange(size, device=start.device)
    source = start[:, None] + steps * side[:, None] // size
    return source.clamp(0, max(limit - 1, 0)), (source >= 0) & (source < limit)


def crop_images(
    image: torch.Tensor, squares: torch.Tensor, size: int, *, mode: str = "bicubic"
) -> torch.Tensor:
    """Crop and resize one image, or one feature map per crop.

    Args:
        image: (C, H, W), or (P, C, H, W) with one map per crop.
        squares: int64 (P, 3).
        size: S.
        mode: "bicubic" (a = -0.75, as in OpenCV) or "bilinear".

    Returns:
        float32 (P, C, S, S); 0 outside the image.
    """
    count, (channels, height, width) = squares.shape[0], image.shape[-3:]
    if height * width == 0:
        return image.new_zeros((count, channels, size, size), dtype=torch.float32)
    x, y, side = squares.double()[:, :, None].unbind(1)
    steps = (torch.arange(size, device=image.device, dtype=torch.float64) + 0.5) / size
    columns = (2 * (x + steps * side) / width - 1).float()
    rows = (2 * (y + steps * side) / height - 1).float()
    grid = torch.stack(
        [columns[:, None].expand(-1, size, -1), rows[:, :, None].expand(-1, -1, size)], dim=-1
    )
    image, options = image.float(), {"mode": mode, "padding_mode": "zeros", "align_corners": False}
    if image.dim() == 4:
        return F.grid_sample(image, grid, **options)
    # All crops of one image are sampled below each other, for which it need not be repeated.
    strip = F.grid_sample(image[None], grid.flatten(0, 1)[None], **options)[0]
    return strip.unflatten(1, (count, size)).transpose(0, 1)


def resize_masks(masks: torch.Tensor, size: Sequence[int]) -> torch.Tensor:
    """Resize full masks by nearest-neighbour interpolation ("resize" input).

    Args:
        masks: (N, H, W) of any dtype.
        size: h, w.

    Returns:
        (N, h, w) of the dtype of `masks`.
    """
    if masks.shape[1] * masks.shape[2] == 0:
        return masks.new_zeros((len(masks), *size))
    rows, columns = (
        torch.arange(new, device=masks.device) * old // new
        for new, old in zip(size, masks.shape[1:], strict=True)
    )
    return masks[:, rows[:, None], columns]


def resize_images(
    image: torch.Tensor, size: Sequence[int], *, mode: str = "bilinear"
) -> torch.Tensor:
    """Resize a full image or several maps, without anti-aliasing (as in OpenCV).

    Args:
        image: (C, H, W).
        size: h, w.
        mode: "bilinear" or "bicubic".

    Returns:
        float32 (C, h, w).
    """
    if image.numel() == 0:
        return image.new_zeros((len(image), *size), dtype=torch.float32)
    return F.interpolate(image.float()[None], size, mode=mode, align_corners=False)[0]


def paste_masks(crops: torch.Tensor, squares: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
    """Paste crops of masks into images, by nearest-neighbour interpolation.

    Args:
        crops: (N, S, S).
        squares: int64 (N, 3), square of each crop.
        size: H, W of the image.

    Returns:
        (N, H, W) of the dtype of `crops`; 0 outside the square.
    """
    count, side = len(crops), crops.shape[-1]
    x, y, length = squares.unbind(1)
    positions = []
    for start, limit in ((y, size[0]), (x, size[1])):
        offset = torch.arange(limit, device=crops.device) - start[:, None]
        inside = (offset >= 0) & (offset < length[:, None])
        positions.append(((offset * side // length[:, None]).clamp(0, side - 1), inside))
    (rows, inside_y), (columns, inside_x) = positions
    index = torch.arange(count, device=crops.device)[:, None, None]
    pasted = crops[index, rows[:, :, None], columns[:, None, :]]
    return pasted * (inside_y[:, :, None] & inside_x[:, None, :]).to(pasted.dtype)
