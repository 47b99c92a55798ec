"""Conversion of labelme shapes to masks and back."""

from __future__ import annotations

import base64
from io import BytesIO
from typing import Any

import cv2
import numpy as np
from PIL import Image

from occ_order import masks
from occ_order.files import opened, show
from occ_order.formats import outlines
from occ_order.formats.checks import field, finite
from occ_order.formats.mask_fields import polygon_from_mask

AREAS = ("polygon", "rectangle", "circle", "mask")
"""Types of shapes that have an inside."""


def area_of(shape: dict, size: tuple[int, int]) -> Any:
    """Return the inside of a shape.

    Args:
        shape: an object of the file, of a type in `AREAS`.
        size: (H, W) of the image.

    Returns:
        Polygons or RLE, as `occ_order.masks.decode` takes them.

    Raises:
        ValueError: says what is wrong with the shape.
    """
    points = field(shape, "points", "a list")
    for point in points:
        numbers = isinstance(point, list) and len(point) == 2 and set(map(type, point))
        if not numbers or not numbers <= {int, float} or not finite(point):
            raise ValueError(f"'points' must be pairs of finite numbers, got {show(point)}")
    kind = shape.get("shape_type", "polygon")
    if kind == "polygon":
        return outlines.polygon(*np.reshape(np.array(points, float), (-1, 2)).T)
    if len(points) != 2:
        raise ValueError(f"a {kind} needs two points, got {len(points)}")
    (xa, ya), (xb, yb) = points
    if kind == "rectangle":
        return [[xa, ya, xb, ya, xb, yb, xa, yb]]
    if kind == "circle":
        radius = float(np.hypot(xb - xa, yb - ya))
        return outlines.ellipse(xa, ya, radius, radius)
    return _mask_shape(shape, (round(xa), round(ya)), size)


def _mask_shape(shape: dict, corner: tuple[int, int], size: tuple[int, int]) -> dict[str, Any]:
    """Return the RLE of a mask shape: a PNG in base64 whose top left pixel lies at a point."""
    text = field(shape, "mask", "a string")
    try:
        content = base64.b64decode(text, validate=True)
    except ValueError as error:
        raise ValueError(f"'mask' is not a PNG image in base64 ({error})") from None
    with opened(BytesIO(content), "'mask'", formats=("PNG",)) as image:
        small = np.asarray(image.convert("L")) > 0
    x, y = corner
    height, width = small.shape
    if min(x, y) < 0 or y + height > size[0] or x + width > size[1]:
        raise ValueError(f"a mask of {height} x {width} at {corner} is not inside the {size} image")
    result = np.zeros(size, bool)
    result[y : y + height, x : x + width] = small
    return masks.encode(result)


def shapes_of(mask: np.ndarray) -> list[dict[str, Any]]:
    """Shapes that rasterise to a mask.

    Args:
        mask: bool (H, W).

    Returns:
        "shape_type", "points" and "mask" of a polygon for each connected part, or of one mask shape
        where there are holes; nothing for an empty mask.
    """
    small = mask.astype(np.uint8)
    _, hierarchy = cv2.findContours(small, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_SIMPLE)
    if hierarchy is None:
        return []
    if (hierarchy[0, :, 3] >= 0).any():  # a contour inside another is a hole
        return [_as_mask_shape(mask)]
    count, parts, boxes, _ = cv2.connectedComponentsWithStats(small, connectivity=8)
    shapes = []
    for k in range(1, count):
        x, y, width, height = boxes[k, :4]
        ring = polygon_from_mask(parts[y : y + height, x : x + width] == k)
        points = (np.reshape(ring, (-1, 2)) + (x, y)).tolist()
        shapes.append({"shape_type": "polygon", "points": points, "mask": None})
    return shapes


def _as_mask_shape(mask: np.ndarray) -> dict[str, Any]:
    x0, y0, x1, y1 = masks.bounding_box(mask).astype(int).tolist()
    buffer = BytesIO()
    Image.fromarray(mask[y0:y1, x0:x1].astype(np.uint8)).save(buffer, format="PNG")
    return {
        "shape_type": "mask",
        "points": [[float(x0), float(y0)], [float(x1 - 1), float(y1 - 1)]],
        "mask": base64.b64encode(buffer.getvalue()).decode("ascii"),
    }
