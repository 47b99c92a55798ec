"""Conversion of projects of VGG Image Annotator (VIA) 3 to the layout of version 2.

Version 3 has files, views (lists of files), attributes, and in "metadata" the regions of all views,
each as the number of its shape followed by the coordinates:

    {"project": {...}, "file": {"1": {"fname": "cup.jpg", "src": "cup.jpg"}},
     "view": {"1": {"fid_list": ["1"]}}, "attribute": {"1": {"aname": "class", "type": 1}},
     "metadata": {"1_mR8ks": {"vid": "1", "flg": 0, "xy": [7, x, y, ...], "av": {"1": "cup"}}}}
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from occ_order.files import show
from occ_order.formats.checks import Report, field

SECTIONS = ("file", "view", "attribute", "metadata")
"""Keys of a project that are read; each holds an object of entries by id."""

SHAPES = {
    1: ("point", ()),
    2: ("rect", ()),
    3: ("circle", ("cx", "cy", "r")),
    4: ("ellipse", ("cx", "cy", "rx", "ry")),
    5: ("line", ()),
    6: ("polyline", ()),
    7: ("polygon", ()),
    8: ("rect", ()),  # drawn by the extreme points of an object
}
"""Name of each shape in version 2, and of the coordinates that outline something there."""

TEXT, CHECKBOX = 1, 2
"""Types of attributes whose value is a text, or ids of options; others have the id of one."""

DELETED = 1
"""Flag of a region that was taken back."""


def is_version_3(data: dict[str, Any]) -> bool:
    """Return whether parsed JSON is a project of version 3."""
    return data.keys() >= {"project", *SECTIONS}


def images_of(path: Path, data: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Convert the images of a project to the layout of version 2, by their id.

    Entries about whole images and deleted regions are left out. Unknown shapes keep their number as
    name, so that the reader of the region reports them with their location.

    Raises:
        ValueError: an entry that is not an object, or refers to no view or file; names file and
            entry.
    """
    report, sections = Report(path), {}
    for key in SECTIONS:
        with report.at():
            sections[key] = field(data, key, "an object")
    images: dict[str, dict[str, Any]] = {}
    for number, file in sections["file"].items():
        with report.at(f"file {show(number)}"):
            images[number] = {"filename": field(_checked(file), "fname", "a string"), "regions": []}
    for key, entry in sections["metadata"].items():
        with report.at(f"metadata {show(key)}"):
            shape = field(_checked(entry), "xy", "a list", [])
            if not shape or field(entry, "flg", "an integer", 0) & DELETED:
                continue
            region = {
                "shape_attributes": _shape(shape),
                "region_attributes": _values(entry, sections["attribute"]),
            }
            images[_file_of(entry, sections["view"], images)]["regions"].append(region)
    return images


def _checked(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"must be an object, got {show(value)}")
    return value


def _shape(numbers: list[Any]) -> dict[str, Any]:
    """Convert [number of the shape, coordinates ...] to a shape of version 2."""
    number, values = numbers[0], numbers[1:]
    unknown = (str(number), ())
    name, keys = SHAPES.get(number, unknown) if isinstance(number, int) else unknown
    if name == "polygon":
        return {"name": name, "all_points_x": values[::2], "all_points_y": values[1::2]}
    return {"name": name, **dict(zip(keys, values, strict=False))}


def _values(entry: dict[str, Any], attributes: dict[str, Any]) -> dict[str, Any]:
    """Return attribute name -> value of a region, with options replaced by their text."""
    said = {}
    for key, value in field(entry, "av", "an object", {}).items():
        attribute = _checked(attributes.get(key, {}))
        name, options = attribute.get("aname", key), attribute.get("options")
        kind = attribute.get("type", TEXT)
        if kind == TEXT or not isinstance(options, dict):
            said[str(name)] = value
        elif kind == CHECKBOX:
            said[str(name)] = {options.get(one, one): True for one in str(value).split(",") if one}
        else:
            said[str(name)] = options.get(str(value), value)
    return said


def _file_of(entry: dict[str, Any], views: dict[str, Any], images: dict[str, Any]) -> str:
    """Return the id of the only file of a region's view."""
    view = str(entry.get("vid"))
    if view not in views:
        raise ValueError(f"'vid' {show(entry.get('vid'))} is no view")
    files = [str(one) for one in field(_checked(views[view]), "fid_list", "a list")]
    if len(files) != 1 or files[0] not in images:
        raise ValueError(f"view {show(view)} must have one of the files, got {show(files)}")
    return files[0]
