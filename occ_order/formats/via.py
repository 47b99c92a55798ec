"""VGG Image Annotator (VIA), versions 1 to 3: its project file, or its annotations as JSON.

    {"cup.jpg31415": {"filename": "cup.jpg", "size": 31415, "regions": [
        {"shape_attributes": {"name": "polygon", "all_points_x": [...], "all_points_y": [...]},
         "region_attributes": {"class": "cup"}}]}}

In a project file this is the value of "_via_img_metadata"; version 1 has an object of regions by
number instead of the list, version 3 another layout (`via_3`). Polygons, circles and ellipses are
instances; boxes ("rect"), points and lines are skipped with a warning. The class of a region is the
attribute with a name in `LABELS`, else the first one; for checkboxes, all checked options. VIA
files do not state image sizes.
"""

from __future__ import annotations

import logging
import math
from pathlib import Path
from typing import Any

from occ_order.files import DataError, show
from occ_order.formats import outlines, via_3
from occ_order.formats.checks import Report, field
from occ_order.formats.pages import Found, Page, Tolerance, gathered, numbered
from occ_order.instances import OrderedInstances

LABELS = ("label", "class", "category", "name", "object", "type")
"""Region attributes read as the class, in order of precedence."""

NO_OUTLINE = ("point", "polyline", "line", "rect")
"""Shape types that are not instance masks; they are skipped with a warning."""

METADATA = "_via_img_metadata"

logger = logging.getLogger(__name__)


def is_via(data: dict[str, Any], keys: set[str]) -> bool:
    """Return whether parsed JSON is of one of the layouts."""
    if via_3.is_version_3(data):
        return True
    images = data.get(METADATA, data)
    return METADATA in data or (
        isinstance(images, dict)
        and len(images) > 0
        and all(
            isinstance(i, dict) and {"filename", "regions"} <= i.keys() for i in images.values()
        )
    )


def via_pages(path: Path, data: dict[str, Any]) -> list[Page]:
    """Return the images of a file with their regions as pages.

    Raises:
        ValueError: an image that is not an object, or without name or regions; names the file.
    """
    report, found = Report(path), []
    images = data.get(METADATA, data)
    if via_3.is_version_3(data):
        images = via_3.images_of(path, data)
    if not isinstance(images, dict):
        raise DataError(f"{path}: {METADATA!r} must be an object, got {show(images)}")
    for key, image in images.items():
        with report.at(f"image {show(key)}"):
            if not isinstance(image, dict):
                raise ValueError(f"must be an object, got {show(image)}")
            name, regions = field(image, "filename", "a string"), image.get("regions")
            regions = list(regions.values()) if isinstance(regions, dict) else regions
            if not isinstance(regions, list):
                raise ValueError(f"'regions' must be a list or an object, got {show(regions)}")
            found.append((name, regions))
    kinds = numbered(_label(region) for _, regions in found for region in regions)
    return [_page(path, name, regions, kinds) for name, regions in found]


def _page(path: Path, name: str, regions: list[Any], kinds: dict[str, int]) -> Page:
    def read(size: tuple[int, int], tolerance: Tolerance) -> OrderedInstances:
        entries = []
        for k, region in enumerate(regions, start=1):
            shape = region.get("shape_attributes") if isinstance(region, dict) else None
            place = f"image {name}: region {k}"
            if isinstance(shape, dict) and shape.get("name") in NO_OUTLINE:
                logger.warning("%s: %s: is a %s, left out", path, place, shape["name"])
                continue
            entries.append((place, lambda k=k, region=region: _found(k, region, kinds)))
        return gathered(path, size, entries, tolerance)

    return Page(name, read)


def _label(region: Any) -> str:
    """Return the class of a region; "" if it has none."""
    said = region.get("region_attributes") if isinstance(region, dict) else None
    if not isinstance(said, dict) or not said:
        return ""
    key = next((key for key in LABELS if key in said), next(iter(said)))
    value = said[key]
    if isinstance(value, dict):  # checkboxes
        return ", ".join(sorted(str(word) for word, ticked in value.items() if ticked))
    return str(value).strip()


def _found(number: int, region: Any, kinds: dict[str, int]) -> Found:
    if not isinstance(region, dict):
        raise ValueError(f"must be an object, got {show(region)}")
    label = _label(region)
    return Found(
        number, _outline(field(region, "shape_attributes", "an object")), kinds[label], label
    )


def _outline(shape: dict[str, Any]) -> list[list[float]]:
    """Return the polygon of a shape; (0, 0) is the corner of the top left pixel."""
    kind = field(shape, "name", "a string")

    def read(*keys: str) -> list[float]:
        return [float(field(shape, key, "a finite number")) for key in keys]

    if kind == "polygon":
        xs, ys = (outlines.numbers(shape.get(f"all_points_{axis}")) for axis in "xy")
        return outlines.polygon(xs, ys)
    if kind == "circle":
        x, y, radius = read("cx", "cy", "r")
        return outlines.ellipse(x, y, radius, radius)
    if kind == "ellipse":
        angle = float(field(shape, "theta", "a finite number", 0.0))  # radians
        x, y, radius_x, radius_y = read("cx", "cy", "rx", "ry")
        return outlines.ellipse(x, y, radius_x, radius_y, math.degrees(angle))
    raise ValueError(f"has the unknown shape {show(kind)}")
