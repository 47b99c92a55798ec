#!/usr/bin/env python
"""Write generated scenes, or composed photographs, to disk in the formats of the real data sets.

    python datasets/make_scenes.py --output datasets/scenes --train 1000 --val 200 --seed 1
    python datasets/make_scenes.py --output datasets/scenes_plain --train 2400 --val 200 --plain
    python datasets/make_scenes.py --seed 1 --contact-sheet sheet.png --statistics 200
    python datasets/make_scenes.py --compose-from instances.json --output DIR --train 1000

OUTPUT gets, for each split:

    {split}/images/000001.png            8-bit RGB (.jpg with --jpeg QUALITY)
    {split}/depth/000001.png             16-bit, KITTI style: round(depth * 256)
    annotations/instances_{split}.json   COCO instances (modal masks)
    annotations/instaorder_{split}.json  InstaOrder: occlusion, depth, overlap, count
    annotations/cocoa_{split}.json       COCOA: regions front to back, depth_constraint
    annotations/cocoa_cls_{split}.json   COCOA-cls / D2SA style, with occl_depth
    annotations/kins2020_{split}.json    KINS 2020 keys
    annotations/diw_{split}.csv          one point pair per picture
    annotations/kitti_{split}.txt        picture, depth map and focal length
    scenes.json                          the parameters, a content hash, statistics

What a format cannot say: KINS and `occl_depth` give every instance a layer, so two instances that
occlude each other (or a circle of three) share one, and the pair reads back as -1, not annotated.
COCO and InstaOrder hold no amodal masks. InstaOrder lists the instances in random order, the others
from front to back; ids agree in all files.

Composed photographs (--compose-from) have no depth maps and no diw and kitti files, but

    annotations/photos_{split}.json     everything, and what is not known of pairs and objects

and the other files hold the instances about which all is known that the format needs.

Calling it again with the same parameters does nothing, or finishes what was interrupted. A folder
made with other parameters, or holding anything else, is refused.
"""

from __future__ import annotations

import argparse
import functools
import json
import sys
from typing import Any

import cv2
import numpy as np

from occ_order.formats.write_composed import (
    composed_formats,
    composed_library,
    composed_parameters,
    is_composed,
)
from occ_order.formats.write_scenes import make, make_scene, scene_parameters
from occ_order.scenes import CLASSES, PLAIN, Scene
from occ_order.scenes.statistics import summarize

# --- pictures for people ------------------------------------------------------------------------


def colour_masks(masks: np.ndarray, background: np.ndarray | None = None) -> np.ndarray:
    """Paint instances in colours that differ.

    Args:
        masks: bool (N, H, W).
        background: uint8 (H, W, 3) to paint over; None = black.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    picture = np.zeros((*masks.shape[1:], 3), np.uint8) if background is None else background.copy()
    for k, mask in enumerate(masks):
        hsv = np.uint8([[[(k * 67) % 180, 150 + 50 * (k % 3), 255 - 60 * (k % 2)]]])
        picture[mask] = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]
    return picture


def panel(scene: Scene) -> np.ndarray:
    """Picture, visible masks with amodal outlines, levels and disparity beside each other.

    Returns:
        uint8 (H, 4 W, 3), RGB.
    """
    masks = colour_masks(scene.modal)
    for k, amodal in enumerate(scene.amodal):
        outline = amodal & ~cv2.erode(amodal.astype(np.uint8), np.ones((3, 3), np.uint8)).astype(
            bool
        )
        masks[outline & ~scene.modal[k]] = 255
    if scene.disparity is None:
        return np.concatenate([scene.image, order_overlay(scene, masks)], axis=1)
    hidden = np.maximum(scene.levels, 0).max(axis=0, initial=0)
    covered = scene.amodal.any(axis=0)
    levels = np.where(covered, 60 + 60 * np.minimum(hidden, 3), 0).astype(np.uint8)
    low, high = float(scene.disparity.min()), float(scene.disparity.max())
    grey = ((scene.disparity - low) / max(high - low, 1e-6) * 255).astype(np.uint8)
    maps = [cv2.applyColorMap(m, cv2.COLORMAP_MAGMA)[..., ::-1] for m in (levels, grey)]
    return np.concatenate([scene.image, masks, *maps], axis=1)


def order_overlay(scene: Scene, masks: np.ndarray) -> np.ndarray:
    """Outlines on the photograph, and an arrow from each occluder to what it occludes.

    Regions such as walls are left out; arrows to instances whose amodal mask is known are white,
    others yellow, those of bidirectional pairs red.

    Args:
        scene: a composed photograph.
        masks: uint8 (H, W, 3), its instances in colours.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    picture = cv2.addWeighted(scene.image, 0.6, masks, 0.4, 0.0)
    for modal in scene.modal:
        outlines, _ = cv2.findContours(
            modal.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(picture, outlines, -1, (255, 255, 255), 1)
    middles = [np.argwhere(m)[:, ::-1].mean(axis=0).round().astype(int) for m in scene.modal]
    for i, j in np.argwhere(scene.occlusion == 1):
        if scene.stuff[i] or scene.stuff[j]:
            continue
        colour = (255, 255, 255) if scene.amodal_known[j] else (255, 230, 0)
        if scene.occlusion[j, i] == 1:
            colour = (255, 40, 40)
        ends = [tuple(int(v) for v in middles[k]) for k in (i, j)]
        cv2.arrowedLine(picture, *ends, colour, 1, cv2.LINE_AA, tipLength=0.12)
    return picture


def contact_sheet(scenes: list[Scene], *, columns: int = 2) -> np.ndarray:
    """Panels of several scenes (of any sizes) on one sheet.

    Args:
        scenes: at least one.
        columns: panels beside each other.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    panels = [panel(scene) for scene in scenes]
    height = max(p.shape[0] for p in panels) + 4
    width = max(p.shape[1] for p in panels) + 4
    rows = -(-len(panels) // columns)
    sheet = np.full((rows * height, columns * width, 3), 255, dtype=np.uint8)
    for k, picture in enumerate(panels):
        top, left = k // columns * height, k % columns * width
        sheet[top : top + picture.shape[0], left : left + picture.shape[1]] = picture
    return sheet


# --- command line -------------------------------------------------------------------------------


def parameters_of(args: argparse.Namespace) -> dict[str, Any]:
    """What the data set depends on, JSON-ready.

    Raises:
        ValueError: a value is out of range.
    """
    if args.workers < 1:
        raise ValueError(f"--workers must be at least 1, got {args.workers}")
    if args.compose_from:
        return composed_parameters(
            args.compose_from,
            images=args.compose_images,
            masks=args.compose_masks,
            assume_whole=args.assume_whole,
            train=args.train,
            val=args.val,
            seed=args.seed,
            size=args.long_side,
            jpeg=args.jpeg or 92,
            formats=args.formats,
        )
    if args.plain:
        args.instances, args.classes = list(PLAIN["num_instances"]), list(PLAIN["classes"])
        args.interlocked, args.texture = PLAIN["interlocked"], PLAIN["texture"]
    return scene_parameters(
        train=args.train,
        val=args.val,
        seed=args.seed,
        size=args.size_range or args.size,
        size_is_range=args.size_range is not None,
        instances=args.instances,
        classes=args.classes,
        interlocked=args.interlocked,
        cyclic=args.cyclic,
        texture=args.texture,
        jpeg=args.jpeg,
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    result.add_argument("--output", metavar="DIR", help="folder to fill")
    result.add_argument("--train", type=int, default=0, metavar="N", help="training pictures")
    result.add_argument("--val", type=int, default=0, metavar="N", help="validation pictures")
    result.add_argument("--seed", type=int, default=0, help="same seed, same bytes")
    result.add_argument("--size", type=int, nargs=2, default=(256, 256), metavar=("H", "W"))
    result.add_argument(
        "--size-range",
        type=int,
        nargs=2,
        metavar=("LO", "HI"),
        help="draw H and W for each picture",
    )
    result.add_argument("--instances", type=int, nargs=2, default=(3, 10), metavar=("LO", "HI"))
    result.add_argument("--classes", nargs="+", choices=CLASSES, help="default: all")
    result.add_argument(
        "--interlocked",
        type=float,
        default=0.18,
        help="probability of an interlocked pair per placement",
    )
    result.add_argument(
        "--cyclic", type=float, default=0.0, help="probability of a circle of three per picture"
    )
    result.add_argument(
        "--texture", type=float, default=1.0, help="contrast of all patterns; 0 = plain colours"
    )
    result.add_argument(
        "--plain",
        action="store_true",
        help="few compact objects without patterns, instead of --instances, --classes, "
        "--interlocked and --texture",
    )
    result.add_argument("--jpeg", type=int, metavar="QUALITY", help="JPEG pictures instead of PNG")
    result.add_argument("--workers", type=int, default=1, help="processes")
    composed = result.add_argument_group("composed photographs")
    composed.add_argument(
        "--compose-from",
        nargs="+",
        metavar="PATH",
        help="compose photographs from these, instead of drawing scenes: COCO instances files, "
        "folders of photographs with masks, folders with an annotations.json, or folders of such",
    )
    composed.add_argument(
        "--compose-images",
        metavar="DIR",
        help="folder of the photographs of COCO files (default: that of the file)",
    )
    composed.add_argument(
        "--compose-masks",
        metavar="PATH",
        help="masks of folders of photographs, as demo.py takes them (default: beside each)",
    )
    composed.add_argument(
        "--assume-whole",
        action="store_true",
        help="every object in the photographs is whole: none is occluded",
    )
    composed.add_argument("--long-side", type=int, default=480, help="longer side in pixels")
    composed.add_argument(
        "--formats",
        nargs="+",
        choices=composed_formats(),
        default=list(composed_formats()),
        help="annotation files to write (default: all); only photos has all instances and pairs",
    )
    result.add_argument("--contact-sheet", metavar="FILE", help="write a sheet of training scenes")
    result.add_argument("--sheet-scenes", type=int, default=12, metavar="N")
    result.add_argument(
        "--statistics",
        type=int,
        default=0,
        metavar="N",
        help="print numbers about N training scenes",
    )
    return result


def main(argv: list[str] | None = None) -> int:
    """Run the command; returns the exit status."""
    args = parser().parse_args(argv)
    if not (args.output or args.contact_sheet or args.statistics):
        print("nothing to do: give --output, --contact-sheet or --statistics", file=sys.stderr)
        return 2
    try:
        parameters = parameters_of(args)
        if args.output:
            made = make(args.output, parameters, workers=args.workers)
            print(f"{args.output}: {'written' if made else 'already there'}")
    except (ValueError, OSError) as error:
        print(f"make_scenes: {error}", file=sys.stderr)
        return 1
    library = None
    if is_composed(parameters) and (args.contact_sheet or args.statistics):
        library = composed_library(parameters, "train")
    make_one = functools.partial(make_scene, parameters, "train", library=library)
    if args.contact_sheet:
        scenes = [make_one(k) for k in range(max(args.sheet_scenes, 1))]
        if not cv2.imwrite(args.contact_sheet, contact_sheet(scenes)[..., ::-1]):
            print(f"make_scenes: cannot write {args.contact_sheet}", file=sys.stderr)
            return 1
    if args.statistics:
        scenes = (make_one(k) for k in range(args.statistics))
        print(json.dumps(summarize(scenes), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
