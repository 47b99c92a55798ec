#!/usr/bin/env python
r"""Draws results of several methods together, as the figures of the papers do.

    python tools/figures.py curves --run "Joint-Labeling=output/oosis/inference/oair.json" \
        --run "M-RCNN + OrderNet=output/order_net/inference/oair.json" --output curves.png
    python tools/figures.py pictures --image photo.jpg --image-id 7 \
        --result "Joint-Labeling=output/oosis/inference/order_results.json" --output methods.png

`curves` puts the OAIR curves of several runs into one plot with a legend (OOSIS, Fig. 9 to 11);
`pictures` puts one photograph beside what each method says about it: relative depth maps by results
(Fig. 8), or disparity maps by PNG files (InstaOrder, Fig. 6).
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from PIL import Image

from occ_order.draw import draw_accuracy_recall, draw_relative_depth, png_bytes
from occ_order.draw.sheets import sheet
from occ_order.masks import decode_all
from occ_order.order import io, relative_depth

CURVES = ("by_iou", "by_confidence", "fine")


def named(text: str) -> tuple[str, Path]:
    """NAME=FILE.

    Raises:
        argparse.ArgumentTypeError: one of the two is missing.
    """
    name, _, path = text.rpartition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(f"expected NAME=FILE, got {text!r}")
    return name, Path(path)


def curves_of(path: Path, kind: str) -> dict[str, Mapping[str, list[float]]]:
    """A curve of an `oair.json`, and the first decycled one where decycling changes it.

    Raises:
        ValueError: another file.
    """
    data = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(data, dict) or kind not in data.get("curves", {}):
        raise ValueError(f"{path}: expected an oair.json with the curve {kind!r}")
    found = {"": data["curves"][kind]}
    decycled = data.get("decycled") or []
    if decycled and decycled[0][kind]["accuracy"] != found[""]["accuracy"]:
        found[", decycled"] = decycled[0][kind]
    return found


def draw_curves(options: argparse.Namespace) -> np.ndarray:
    """The curves of all runs; those of one run share colour and marker."""
    drawn = {}
    for k, (name, path) in enumerate(options.run):
        for dash, (suffix, curve) in enumerate(curves_of(path, options.curve).items()):
            if not suffix or options.decycled:
                drawn[name + suffix] = {**curve, "style": (k, dash)}
    return draw_accuracy_recall(drawn, title=options.title)


def relative_depth_map(path: Path, image_id: str, size: tuple[int, int]) -> np.ndarray:
    """Relative depth of the instances of one image of an `order_results.json` (H, W, 3).

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


def draw_pictures(options: argparse.Namespace) -> np.ndarray:
    """The photograph, then each method in the order of the command line."""
    photograph = read_picture(options.image)
    size = photograph.shape[:2]
    parts = {"photograph": ("photograph", photograph)}
    for k, (name, path) in enumerate(options.result):
        is_map = path.suffix.lower() == ".png"
        drawn = read_picture(path) if is_map else relative_depth_map(path, options.image_id, size)
        if drawn.shape[:2] != size:
            raise ValueError(f"{path}: is {drawn.shape[:2]}, the photograph {size}")
        parts[str(k)] = (name, drawn)
    return sheet(parts, title=options.title, columns=options.columns)


def read_picture(path: Path) -> np.ndarray:
    """uint8 (H, W, 3)."""
    with Image.open(path) as picture:
        return np.asarray(picture.convert("RGB"))


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool; 2 where a file cannot be read or does not fit."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(required=True, dest="command")
    curves = commands.add_parser("curves", help="OAIR curves of several runs in one plot")
    curves.add_argument("--run", action="append", type=named, required=True, metavar="NAME=FILE")
    curves.add_argument("--curve", choices=CURVES, default="by_iou")
    curves.add_argument("--decycled", action="store_true", help="also after random decycling")
    curves.set_defaults(draw=draw_curves)
    pictures = commands.add_parser("pictures", help="methods side by side for one photograph")
    pictures.add_argument("--image", type=Path, required=True)
    pictures.add_argument("--image-id", default="", help="of the photograph in the results")
    pictures.add_argument(
        "--result", action="append", type=named, required=True, metavar="NAME=FILE",
        help="order_results.json, or a PNG file of a disparity map",
    )  # fmt: skip
    pictures.add_argument("--columns", type=int, default=4)
    pictures.set_defaults(draw=draw_pictures)
    for command in (curves, pictures):
        command.add_argument("--title", default="")
        command.add_argument("--output", type=Path, required=True, help="PNG file to write")
    options = parser.parse_args(arguments)
    try:
        options.output.write_bytes(png_bytes(options.draw(options)))
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
