"""Boxes and masks in files: validation when reading, encoding when writing."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np

from occ_order import masks
from occ_order.files import show
from occ_order.formats.checks import field, finite


def xyxy(annotation: dict, key: str) -> list[float]:
    """Return a COCO box [x, y, width, height] as [x0, y0, x1, y1].

    Raises:
        ValueError: not four finite numbers, or a negative side.
    """
    box = field(annotation, key, "a list")
    if len(box) != 4 or not set(map(type, box)) <= {int, float} or not finite(box):
        raise ValueError(f"{key!r} must be four finite numbers [x, y, width, height], got {box}")
    x, y, width, height = box
    if width < 0 or height < 0:
        raise ValueError(f"{key!r} must have sides >= 0, got {box}")
    return [float(x), float(y), float(x + width), float(y + height)]


def xywh(box: list[float]) -> list[float]:
    """Return a box [x0, y0, x1, y1] as COCO writes it, [x, y, width, height]."""
    x0, y0, x1, y1 = (float(value) for value in box)
    return [x0, y0, x1 - x0, y1 - y0]


def checked_mask(annotation: dict, key: str, height: int, width: int) -> Any:
    """Check the format of the mask `annotation[key]` without decoding it, and return it.

    An RLE must have the image's size and counts of a valid type. Polygons must be lists of finite
    coordinates in pairs; parts of fewer than three points are dropped if others remain, since they
    are empty. A single flat polygon [x, y, ...] is wrapped in a list.

    Args:
        annotation: an object of the file.
        key: the key of the mask.
        height: rows of the image.
        width: columns of the image.

    Returns:
        An RLE object or a list of flat polygons [[x, y, ...], ...].

    Raises:
        ValueError: the key is absent, or the mask is invalid for the image.
    """
    mask = annotation.get(key)
    if isinstance(mask, dict):
        _check_rle(mask, key, height, width)
        return mask
    if not isinstance(mask, list):
        if key not in annotation:
            raise ValueError(f"key {key!r} is missing, the keys are {show(sorted(annotation))}")
        raise ValueError(f"{key!r} must be an RLE object or polygons, got {show(mask)}")
    polygons = [mask] if mask and not isinstance(mask[0], list) else mask
    kept = [polygon for polygon in polygons if _check_polygon(polygon, key)]
    if not kept:
        raise ValueError(f"{key!r} must have a polygon of three or more points, got {show(mask)}")
    return kept


def _check_rle(rle: dict, key: str, height: int, width: int) -> None:
    if rle.get("size") != [height, width]:
        raise ValueError(
            f"{key!r} must have the image's size [{height}, {width}] (rows, columns), "
            f"got {show(rle.get('size'))}"
        )
    if not isinstance(rle.get("counts"), (str, list)):
        raise ValueError(f"'counts' of {key!r} must be a string or a list, got {show(rle)}")


def _check_polygon(polygon: object, key: str) -> bool:
    """Return whether a polygon has at least three points; ValueError if it is not a polygon."""
    if not isinstance(polygon, list) or not set(map(type, polygon)) <= {int, float}:
        raise ValueError(f"{key!r} must be polygons [[x, y, ...], ...], got {show(polygon)}")
    if len(polygon) % 2:
        raise ValueError(f"{key!r} has a polygon with an odd count of numbers, {len(polygon)}")
    if not finite(polygon):
        raise ValueError(f"{key!r} has a polygon with NaN or infinite coordinates")
    return len(polygon) >= 6


def read_rate(region: dict) -> float:
    """Return `occlude_rate`, the occluded fraction of the amodal mask.

    Raises:
        ValueError: not a number in [0, 1].
    """
    rate = field(region, "occlude_rate", "a finite number")
    if not 0 <= rate <= 1:
        raise ValueError(f"'occlude_rate' must be between 0 and 1, got {rate}")
    return float(rate)


def modal_and_amodal(
    annotation: dict[str, Any], height: int, width: int
) -> tuple[np.ndarray, np.ndarray]:
    """Decode the two masks of an annotation that is to be written in an amodal format.

    Returns:
        modal and amodal, (H, W) bool each.

    Raises:
        ValueError: no amodal mask, an empty one, or visible pixels outside it.
    """
    if "amodal_segmentation" not in annotation:
        raise ValueError("the format cannot hold an instance without 'amodal_segmentation'")
    modal = masks.decode(annotation["segmentation"], height, width)
    amodal = masks.decode(annotation["amodal_segmentation"], height, width)
    if not amodal.any():
        raise ValueError("the amodal mask is empty")
    if (modal & ~amodal).any():
        raise ValueError(
            f"{int((modal & ~amodal).sum())} visible pixels are not in the amodal mask"
        )
    return modal, amodal


def mask_box(segmentation: Any, height: int, width: int, *, name: str = "") -> list[float]:
    """Return the tight box [x0, y0, x1, y1] of a mask, zeros if it is empty."""
    return masks.area_and_box(segmentation, height, width, name=name)[1].tolist()


def as_rle(segmentation: Any, height: int, width: int, *, name: str = "") -> dict[str, Any]:
    """Return a mask as compressed RLE with the keys and types of COCO files."""
    if isinstance(segmentation, dict) and isinstance(segmentation["counts"], str):
        return {"size": [int(height), int(width)], "counts": segmentation["counts"]}
    return masks.encode(masks.decode(segmentation, height, width, name=name))


def as_polygons(segmentation: Any, height: int, width: int, *, name: str = "") -> list[list[float]]:
    """Return a mask as polygons that rasterise to exactly its pixels (see `polygon_from_mask`)."""
    if isinstance(segmentation, list):
        nested = segmentation and isinstance(segmentation[0], list)
        return segmentation if nested else [segmentation]
    return [polygon_from_mask(masks.decode(segmentation, height, width, name=name))]


def polygon_from_mask(mask: np.ndarray) -> list[float]:
    """Convert a mask to ONE polygon that the COCO rasteriser converts to the same pixels.

    COCOA allows a single ring per region. Holes and disconnected parts are therefore connected by
    zero-width bridges, traversed once in each direction, which cancel by the even-odd rule.

    Args:
        mask: (H, W) bool, not empty.

    Returns:
        [x, y, x, y, ...]: pixel corners, in pixels, (0, 0) the top left corner of the image.

    Raises:
        ValueError: the mask is empty.
    """
    # In the mask enlarged by 3, a contour runs through the first or last sub-pixel of a pixel;
    # (c + 1) // 3 maps both to the adjacent pixel corner.
    large = np.repeat(np.repeat(np.asarray(mask, np.uint8), 3, axis=0), 3, axis=1)
    contours, _ = cv2.findContours(large, cv2.RETR_LIST, cv2.CHAIN_APPROX_SIMPLE)
    if not contours:
        raise ValueError("an empty mask has no polygon")
    rings = [(contour.reshape(-1, 2) + 1) // 3 for contour in contours]
    rings = [ring[(ring != np.roll(ring, 1, axis=0)).any(axis=1)] for ring in rings]
    start = rings[0][:1]
    path = [rings[0]] + [part for ring in rings[1:] for part in (start, ring, ring[:1])]
    if len(rings) > 1:
        path.append(start)
    return np.concatenate(path).astype(float).ravel().tolist()


def amodal_overlaps(record: dict[str, Any], candidates: np.ndarray) -> np.ndarray:
    """Return which pairs of instances have overlapping amodal masks.

    Only masks of candidates with overlapping amodal boxes are decoded.

    Args:
        record: its annotations have "amodal_segmentation" and "amodal_bbox".
        candidates: (N, N) bool, symmetric: the pairs to test.

    Returns:
        (N, N) bool, symmetric, False for other pairs.
    """
    annotations, size = record["annotations"], (record["height"], record["width"])
    boxes = np.array([a["amodal_bbox"] for a in annotations]).reshape(-1, 4)
    low = np.maximum(boxes[:, None, :2], boxes[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], boxes[None, :, 2:])
    # Boxes in files are rounded or taken from polygons, so they may be a pixel too small.
    near = candidates & (high - low > -2).all(axis=2)
    np.fill_diagonal(near, False)
    members = np.flatnonzero(near.any(axis=1))
    amodal = masks.decode_all(
        [annotations[k]["amodal_segmentation"] for k in members],
        *size,
        names=[f"annotation {annotations[k]['id']}" for k in members],
    )
    inner = np.ix_(members, members)
    result = np.zeros_like(near)
    result[inner] = masks.overlap_areas(amodal, amodal, pairs=np.triu(near[inner])) > 0
    return result | result.T
