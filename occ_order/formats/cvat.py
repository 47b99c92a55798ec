"""CVAT's XML ("CVAT for images 1.1"), with the order as z-order and attributes.

    <annotations><image id="0" name="cup.jpg" width="640" height="480">
      <mask label="cup" source="manual" occluded="0" rle="3, 5, 2" left="10" top="20" width="5"
            height="2" z_order="1"><attribute name="occludes">2,3</attribute></mask>
      <polygon label="tray" ... points="10.0,20.5;30.1,20.5;30.0,40.2" z_order="0"/>
    </image></annotations>

Masks (row-major run lengths inside their box, outside first), polygons and ellipses are instances;
shapes with the same label and the same `group_id` above 0 form one instance. Boxes, other shapes
and video tracks are skipped with a warning.

CVAT draws shapes with a larger `z_order` on top. Of two overlapping shapes the upper one occludes
the lower one, whose modal mask is the uncovered part; pairs that do not overlap are unknown. If the
shapes have the attribute "occludes", which this module writes, it defines the order instead: it
lists the ids of the occludees, "unknown" lists ids of unknown order, and "id" is the id of the
instance. CVAT keeps these attributes if the labels of the task define them, as in the written file.

Documents with a DTD are rejected, since entity expansion could exhaust the memory.
"""

from __future__ import annotations

import functools
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from occ_order import masks
from occ_order.files import DataError, atomic_writer, read_text, show
from occ_order.formats import outlines
from occ_order.formats.checks import Report
from occ_order.formats.pages import (
    Found,
    Page,
    Tolerance,
    gathered,
    integer_ids,
    number_or_text,
    numbered,
)
from occ_order.formats.results import ordered_record
from occ_order.instances import OrderedInstances
from occ_order.order.encoding import UNKNOWN

AREAS = ("mask", "polygon", "ellipse")
"""Shapes that are read as instances."""

_ATTRIBUTES = ("id", "occludes", "unknown")

logger = logging.getLogger(__name__)

Element = ElementTree.Element


# --- reading -----------------------------------------------------------------------------


def cvat_pages(path: Path, data: None = None) -> list[Page]:
    """Return the images of an XML file with their shapes and order as pages.

    Raises:
        ValueError: not XML, a DTD, not in CVAT's format, or an image without name or size; names
            the file.
        OSError: the file cannot be read.
    """
    root = _root(path)
    images = root.findall("image")
    if tracks := root.findall("track"):
        logger.warning("%s: %d tracks of a video left out", path, len(tracks))
    kinds = numbered(s.get("label", "") for image in images for s in image if s.tag in AREAS)
    return [_page(path, image, kinds) for image in images]


def _root(path: Path) -> Element:
    text = read_text(path)
    if "<!DOCTYPE" in text or "<!ENTITY" in text:
        raise DataError(f"{path}: has a DTD, which files of CVAT do not have")
    try:
        root = ElementTree.fromstring(text)
    except (ElementTree.ParseError, ValueError, LookupError) as error:
        raise DataError(f"{path}: not an XML file ({error})") from None
    if root.tag != "annotations":
        raise DataError(f"{path}: expected CVAT's <annotations>, got <{show(root.tag)}>")
    return root


def _page(path: Path, image: Element, kinds: dict[str, int]) -> Page:
    with Report(path).at(f"image {show(image.get('id', image.get('name')))}"):
        name, number = _text(image, "name"), image.get("id", "")
        size = _whole(image, "height"), _whole(image, "width")

    def read(size: tuple[int, int], tolerance: Tolerance) -> OrderedInstances:
        groups = _groups(path, name, image)
        shapes = [(_id_of(parts, k), parts) for k, parts in enumerate(groups, start=1)]
        entries = [
            (f"image {name}: shape {key}", functools.partial(_found, key, parts, size, kinds))
            for key, parts in shapes
        ]
        found = gathered(path, size, entries, tolerance)
        with Report(path).at(f"image {name}"):
            found = _ordered(found, [dict(reversed(shapes))[key] for key in found.ids])
        return found

    return Page(name, read, number_or_text(number), size)


def _id_of(shapes: Sequence[Element], place: int) -> int | str:
    """Return the id of an instance: its attribute "id", or else its position in the image."""
    text = _attribute(shapes[0], "id")
    return number_or_text(text) if text else place


def _groups(path: Path, name: str, image: Element) -> list[list[Element]]:
    """Group the shapes of an image by instance."""
    groups: dict[Any, list[Element]] = {}
    for k, shape in enumerate(image):
        group = shape.get("group_id", "0")
        if shape.tag in AREAS:
            key = k if group in ("", "0") else (shape.get("label"), group)
            groups.setdefault(key, []).append(shape)
        else:
            logger.warning("%s: image %s: a %s, left out", path, name, shape.tag)
    return list(groups.values())


def _found(
    key: int | str, shapes: Sequence[Element], size: tuple[int, int], kinds: dict[str, int]
) -> Found:
    label = _text(shapes[0], "label")
    parts = [_inside(shape, size) for shape in shapes]
    return Found(key, np.any(parts, axis=0), kinds[label], label)


def _inside(shape: Element, size: tuple[int, int]) -> np.ndarray:
    """Return the mask of a shape, bool (H, W)."""
    if shape.tag == "mask":
        return _mask(shape, size)
    if shape.tag == "polygon":
        points = [_numbers(pair, 2) for pair in _text(shape, "points").split(";")]
        return masks.decode(outlines.polygon(*zip(*points, strict=True)), *size)
    x, y, radius_x, radius_y = (_number(shape, key) for key in ("cx", "cy", "rx", "ry"))
    turned = outlines.ellipse(x, y, radius_x, radius_y, _number(shape, "rotation", 0.0))
    return masks.decode(turned, *size)


def _mask(shape: Element, size: tuple[int, int]) -> np.ndarray:
    left, top, width, height = (_integer(shape, k) for k in ("left", "top", "width", "height"))
    if min(left, top) < 0 or top + height > size[0] or left + width > size[1]:
        raise ValueError(
            f"a mask of {height} x {width} at {(left, top)} (left, top) is not inside the image of "
            f"{size[0]} x {size[1]}"
        )
    runs = np.array(_numbers(_text(shape, "rle")))
    if (runs < 0).any() or (runs % 1).any() or runs.sum() != width * height:
        raise ValueError(
            f"its runs must be whole numbers that sum to {height} * {width} = {height * width}, "
            f"got {runs.sum():g}"
        )
    small = np.repeat(np.arange(len(runs)) % 2 == 1, runs.astype(int))
    result = np.zeros(size, bool)
    result[top : top + height, left : left + width] = small.reshape(height, width)
    return result


def _ordered(found: OrderedInstances, shapes: Sequence[Sequence[Element]]) -> OrderedInstances:
    """Return the instances with the order defined by attributes, or else by z-order."""
    said = [_attribute(parts[0], "occludes") for parts in shapes]
    place = {str(key): k for k, key in enumerate(found.ids)}
    if any(text is not None for text in said):
        occlusion = np.zeros((len(found), len(found)), np.int8)
        for k, parts in enumerate(shapes):
            for name, value in (("occludes", 1), ("unknown", UNKNOWN)):
                for word in _words(_attribute(parts[0], name)):
                    if word in place and place[word] != k:
                        occlusion[k, place[word]] = value
        return found.replace(occlusion=occlusion)
    levels = np.array([max(_integer(s, "z_order", 0) for s in parts) for parts in shapes], int)
    if len(set(levels.tolist())) < 2:
        return found
    above = levels[:, None] > levels
    upper = above & (masks.overlap_areas(found.modal, found.modal, pairs=above) > 0)
    occlusion = np.where(upper, 1, np.where(upper.T, 0, UNKNOWN)).astype(np.int8)
    np.fill_diagonal(occlusion, 0)
    visible = [mask & ~found.modal[upper[:, k]].any(axis=0) for k, mask in enumerate(found.modal)]
    return found.replace(modal=np.array(visible), occlusion=occlusion)


def _words(text: str | None) -> list[str]:
    return [word.strip() for word in (text or "").split(",") if word.strip()]


def _attribute(shape: Element, name: str) -> str | None:
    """Return the text of an attribute of a shape; None if it has none."""
    for element in shape.findall("attribute"):
        if element.get("name") == name:
            return element.text or ""
    return None


def _text(element: Element, key: str) -> str:
    value = element.get(key)
    if value is None:
        raise ValueError(f"<{element.tag}> has no {key!r}, only {show(sorted(element.keys()))}")
    return value


def _numbers(text: str, count: int | None = None) -> list[float]:
    try:
        values = [float(word) for word in text.split(",")]
    except ValueError:
        raise ValueError(f"expected numbers, got {show(text)}") from None
    return outlines.numbers(values, count)


def _number(element: Element, key: str, default: float | None = None) -> float:
    if default is not None and element.get(key) is None:
        return default
    return _numbers(_text(element, key), 1)[0]


def _integer(element: Element, key: str, default: int | None = None) -> int:
    value = _number(element, key, default)
    if value % 1 or abs(value) >= 2**31:
        raise ValueError(f"{key!r} must be a whole number, got {show(element.get(key))}")
    return int(value)


def _whole(element: Element, key: str) -> int:
    if (value := _integer(element, key)) < 1:
        raise ValueError(f"{key!r} must be a positive integer, got {value}")
    return value


# --- writing -----------------------------------------------------------------------------


def document_of(results: Iterable[OrderedInstances]) -> str:
    """Return the XML of images, with modal masks, z-order and the order as attributes.

    Args:
        results: instances of each image. With an occlusion order, `z_order` is the relative depth
            and occludees are marked as `occluded`. Instances with an empty mask, which CVAT does
            not support, are skipped with a warning.

            Image ids are replaced by 1, 2, ... unless all are integers, as CVAT requires, and
            differ.
    """
    results = list(results)
    root = ElementTree.Element("annotations")
    ElementTree.SubElement(root, "version").text = "1.1"
    root.append(_meta({_label(result, k) for result in results for k in range(len(result))}))
    for result, number in zip(
        results, integer_ids([result.image_id for result in results]), strict=True
    ):
        root.append(_image(result, number))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="utf-8"?>\n' + ElementTree.tostring(root, "unicode") + "\n"


def _meta(labels: set[str]) -> Element:
    """Return the definition of the labels and their attributes, which CVAT needs to keep them."""
    meta = ElementTree.Element("meta")
    listed = ElementTree.SubElement(ElementTree.SubElement(meta, "task"), "labels")
    for name in sorted(labels):
        label = ElementTree.SubElement(listed, "label")
        ElementTree.SubElement(label, "name").text = name
        ElementTree.SubElement(label, "type").text = "mask"
        attributes = ElementTree.SubElement(label, "attributes")
        for key in _ATTRIBUTES:
            attribute = ElementTree.SubElement(attributes, "attribute")
            texts = {"name": key, "mutable": "False", "input_type": "text", "default_value": ""}
            for tag, text in {**texts, "values": ""}.items():
                ElementTree.SubElement(attribute, tag).text = text
    return meta


def _label(result: OrderedInstances, k: int) -> str:
    return (result.names[k] if result.names else "") or "instance"


def _image(result: OrderedInstances, image_id: int) -> Element:
    height, width = result.size
    name = result.file_name or f"{result.image_id}.png"
    image = ElementTree.Element(
        "image", id=str(image_id), name=name, width=str(width), height=str(height)
    )
    occlusion = result.occlusion
    levels = [0] * len(result) if occlusion is None else result.relative_depth().tolist()
    for k, number in enumerate(result.ids):
        if not result.modal[k].any():
            logger.warning("image %s: instance %s has no pixel, left out", result.image_id, number)
            continue
        hidden = occlusion is not None and bool((occlusion[:, k] == 1).any())
        mask = ElementTree.SubElement(
            image,
            "mask",
            {
                "label": _label(result, k),
                "source": "semi-auto",
                "occluded": str(int(hidden)),
                **_written(result.modal[k]),
                "z_order": str(levels[k]),
            },
        )
        texts = {"id": str(number)}
        if occlusion is not None:
            for key, value in (("occludes", 1), ("unknown", UNKNOWN)):
                others = np.flatnonzero(occlusion[k] == value)
                texts[key] = ",".join(str(result.ids[other]) for other in others)
        for key, text in texts.items():
            ElementTree.SubElement(mask, "attribute", name=key).text = text
    return image


def _written(mask: np.ndarray) -> dict[str, str]:
    """Return the box of a mask and its run lengths inside the box."""
    x0, y0, x1, y1 = masks.bounding_box(mask).astype(int).tolist()
    flat = mask[y0:y1, x0:x1].ravel()
    edges = np.flatnonzero(np.diff(flat)) + 1
    runs = np.diff(np.r_[0, edges, flat.size]).tolist()
    runs = [0, *runs] if flat[0] else runs
    box = {"left": x0, "top": y0, "width": x1 - x0, "height": y1 - y0}
    return {"rle": ", ".join(map(str, runs)), **{key: str(side) for key, side in box.items()}}


def save_cvat(
    records: Iterable[dict[str, Any]],
    path: str | os.PathLike,
    categories: list[dict[str, Any]],
    *,
    image_root: str | os.PathLike | None = None,
) -> None:
    """Write records as CVAT's XML; arguments and errors as for `save_results_records`."""
    text = document_of(
        ordered_record(record, categories, image_root=image_root) for record in records
    )
    with atomic_writer(path) as file:
        file.write(text)
