"""`occ-order report curves` and `report methods`: compare several runs in one figure."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from occ_order.draw import draw_accuracy_recall, draw_relative_depth, png_bytes
from occ_order.draw.image_panels import Panel
from occ_order.draw.sheets import sheet
from occ_order.files import load_image, read_json, write_bytes
from occ_order.masks import decode_all
from occ_order.order import io, relative_depth


def curves_of(path: Path, kind: str) -> dict[str, Mapping[str, list[float]]]:
    """Read a curve of an `oair.json`, and its first decycled version if decycling changes it.

    Returns:
        Label suffix ("" or ", decycled") -> curve.

    Raises:
        ValueError: the file is no `oair.json` with that curve.
    """
    data = read_json(path)
    if kind not in data.get("curves", {}):
        raise ValueError(f"{path}: expected an oair.json with the curve {kind!r}")
    found = {"": data["curves"][kind]}
    decycled = data.get("decycled") or []
    if decycled and decycled[0][kind]["accuracy"] != found[""]["accuracy"]:
        found[", decycled"] = decycled[0][kind]
    return found


def draw_curves(options: argparse.Namespace) -> np.ndarray:
    """Plot the curves of all runs; those of one run, or of one name, share colour and marker."""
    drawn: dict[str, dict[str, Any]] = {}
    names = list(dict.fromkeys(name for name, _ in options.run))
    for k, (name, path) in enumerate(options.run):
        for dash, (suffix, curve) in enumerate(curves_of(path, options.curve).items()):
            if not suffix or options.decycled:
                again = name + suffix in drawn
                key = f"{name}{suffix} ({k + 1})" if again else name + suffix
                drawn[key] = {**curve, "style": (names.index(name), dash), "again": again}
    return draw_accuracy_recall(drawn, title=options.title)


def relative_depth_map(path: Path, image_id: str, size: tuple[int, int]) -> np.ndarray:
    """Draw the relative depth of one image of an `order_results.json`, uint8 (H, W, 3).

    Raises:
        ValueError: the image is not in the file, has another size or no occlusion order.
    """
    images = {str(image["image_id"]): image for image in io.load_results(path)}
    if image_id not in images:
        raise ValueError(f"{path}: has no image {image_id!r}")
    image = images[image_id]
    if (image["height"], image["width"]) != size:
        raise ValueError(
            f"{path}: image {image_id!r} is {image['height']} x {image['width']}, "
            f"the photograph {size[0]} x {size[1]}"
        )
    occlusion, _, _ = io.matrices(image)
    if occlusion is None:
        raise ValueError(f"{path}: image {image_id!r} has no occlusion order")
    masks = decode_all([one["segmentation"] for one in image["instances"]], *size)
    return draw_relative_depth(masks, relative_depth(occlusion), size=size, legend=False)


def draw_methods(options: argparse.Namespace) -> np.ndarray:
    """Draw the photograph, then the result of each method in the order of the command line."""
    photograph = load_image(options.image)
    size = photograph.shape[:2]
    parts = {"photograph": Panel("photograph", photograph, "The photograph.")}
    for k, (name, path) in enumerate(options.result):
        is_map = path.suffix.lower() == ".png"
        drawn = load_image(path) if is_map else relative_depth_map(path, options.image_id, size)
        if drawn.shape[:2] != size:
            raise ValueError(f"{path}: is {drawn.shape[:2]}, the photograph {size}")
        parts[str(k)] = Panel(name, drawn, name)
    return sheet(parts, title=options.title, columns=options.columns)


def run(options: argparse.Namespace) -> int:
    """Draw the figure and write it as PNG; return the exit status."""
    draw = {"curves": draw_curves, "methods": draw_methods}[options.kind]
    write_bytes(options.output, png_bytes(draw(options)))
    return 0
