"""`occ-order scenes` and `occ-order compose`: data sets of generated and composed images."""

from __future__ import annotations

import argparse
import functools
import json
from typing import Any

import cv2
import numpy as np
from PIL import Image

from occ_order.files import atomic_writer
from occ_order.formats.write_composed import (
    composed_formats,
    composed_library,
    composed_parameters,
    is_composed,
)
from occ_order.formats.write_scenes import make, make_scene, scene_parameters
from occ_order.scenes import PLAIN, Scene
from occ_order.scenes.statistics import summarize


def parameters_of(options: argparse.Namespace) -> dict[str, Any]:
    """What the data set depends on, JSON-ready.

    Raises:
        ValueError: a value is out of range.
    """
    if options.sources:
        return composed_parameters(
            options.sources,
            images=options.images,
            masks=options.masks,
            assume_whole=options.assume_whole,
            train=options.train,
            val=options.val,
            seed=options.seed,
            size=options.long_side,
            jpeg=options.jpeg or 92,
            formats=options.formats or composed_formats(),
        )
    if options.plain:
        options.instances, options.classes = list(PLAIN["num_instances"]), list(PLAIN["classes"])
        options.interlocked, options.texture = PLAIN["interlocked"], PLAIN["texture"]
    return scene_parameters(
        train=options.train,
        val=options.val,
        seed=options.seed,
        size=options.size_range or options.size,
        size_is_range=options.size_range is not None,
        instances=options.instances,
        classes=options.classes,
        interlocked=options.interlocked,
        cyclic=options.cyclic,
        texture=options.texture,
        jpeg=options.jpeg,
    )


def run(options: argparse.Namespace) -> int:
    """Write the data set, a sheet, numbers; return the exit status."""
    parameters = parameters_of(options)
    if options.output:
        made = make(options.output, parameters, workers=options.workers)
        print(f"{options.output}: {'written' if made else 'already there'}")
    library = None
    if is_composed(parameters) and (options.contact_sheet or options.statistics):
        library = composed_library(parameters, "train")
    make_one = functools.partial(make_scene, parameters, "train", library=library)
    if options.contact_sheet:
        scenes = [make_one(k) for k in range(max(options.sheet_scenes, 1))]
        with atomic_writer(options.contact_sheet, "wb") as file:
            Image.fromarray(contact_sheet(scenes)).save(file, format="PNG")
    if options.statistics:
        scenes = (make_one(k) for k in range(options.statistics))
        print(json.dumps(summarize(scenes), indent=2))
    return 0


# --- images for people ------------------------------------------------------------------------


def colour_masks(masks: np.ndarray, background: np.ndarray | None = None) -> np.ndarray:
    """Paint instances in colours that differ.

    Args:
        masks: bool (N, H, W).
        background: uint8 (H, W, 3) to paint over; None = black.

    Returns:
        uint8 (H, W, 3), RGB.
    """
    pixels = np.zeros((*masks.shape[1:], 3), np.uint8) if background is None else background.copy()
    for k, mask in enumerate(masks):
        hsv = np.array([[[(k * 67) % 180, 150 + 50 * (k % 3), 255 - 60 * (k % 2)]]], np.uint8)
        pixels[mask] = cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0]
    return pixels


def panel(scene: Scene) -> np.ndarray:
    """Image, visible masks with amodal outlines, levels and disparity beside each other.

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
    pixels = cv2.addWeighted(scene.image, 0.6, masks, 0.4, 0.0)
    for modal in scene.modal:
        outlines, _ = cv2.findContours(
            modal.astype(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE
        )
        cv2.drawContours(pixels, outlines, -1, (255, 255, 255), 1)
    middles = [np.argwhere(m)[:, ::-1].mean(axis=0).round().astype(int) for m in scene.modal]
    for i, j in np.argwhere(scene.occlusion == 1):
        if scene.stuff[i] or scene.stuff[j]:
            continue
        colour = (255, 255, 255) if scene.amodal_known[j] else (255, 230, 0)
        if scene.occlusion[j, i] == 1:
            colour = (255, 40, 40)
        start, end = (tuple(int(v) for v in middles[k]) for k in (i, j))
        cv2.arrowedLine(pixels, start, end, colour, 1, cv2.LINE_AA, tipLength=0.12)
    return pixels


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
    for k, pixels in enumerate(panels):
        top, left = k // columns * height, k % columns * width
        sheet[top : top + pixels.shape[0], left : left + pixels.shape[1]] = pixels
    return sheet
