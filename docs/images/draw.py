#!/usr/bin/env python
"""Draws every image of the documentation that lies in this folder.

python docs/images/draw.py

The photographs are demo/coffee (CC0) and demo/astronaut (public domain), all else are generated
scenes. Needs what `make install` brings.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

import occ_order
from occ_order import draw, scenes, targets
from occ_order.draw.levels import draw_levels
from occ_order.files import load_image
from occ_order.formats.layered_image import layers_of

FOLDER = Path(__file__).resolve().parent
COFFEE = FOLDER.parents[1] / "demo" / "coffee"
ASTRONAUT = FOLDER.parents[1] / "demo" / "astronaut"
SCENE = scenes.generate(10, size=(200, 260), num_instances=5)
PLAIN = scenes.generate(5, size=(160, 160), **{**scenes.PLAIN, "num_instances": 5})


def coffee(model: str) -> occ_order.OrderedInstances:
    """Predict the photograph's order by a model of the zoo."""
    return occ_order.predict(COFFEE / "coffee.jpg", COFFEE / "coffee.json", model=model)


def scene_instances(scene: scenes.Scene) -> occ_order.OrderedInstances:
    """Return the instances of a scene with their true order."""
    return occ_order.OrderedInstances(
        "scene",
        scene.image.shape[:2],
        scene.modal,
        amodal=scene.amodal,
        occlusion=scene.occlusion,
        depth=scene.depth,
    )


def coffee_order() -> np.ndarray:
    """Occlusion on the photograph, and the graph of depth."""
    image = load_image(COFFEE / "coffee.jpg")
    kinds = ("occlusion", "depth_graph")
    drawn = draw.panels(coffee("mask_order_photos"), image, kinds=kinds)
    return draw.join([drawn[kind].image for kind in kinds])


def coffee_whole() -> np.ndarray:
    """Return the mask of the saucer as given, and the whole saucer."""
    result, image = coffee("mask_completion_photos"), load_image(COFFEE / "coffee.jpg")
    saucer = [result.names.index("saucer")]
    masks = (result.modal[saucer], result.amodal[saucer])
    return draw.join([draw.draw_instances(image, one, labels=[""]) for one in masks])


def coffee_layers() -> np.ndarray:
    """Return the layers from front to back, on a chequered ground."""
    image = load_image(COFFEE / "coffee.jpg")
    cut = layers_of(coffee("mask_order_photos").to_dict(), image)
    y, x = np.mgrid[: image.shape[0], : image.shape[1]]
    ground = np.where((y // 16 + x // 16) % 2, 215, 250)[..., None].astype(np.float64)
    shown = []
    for layer in (one for one in cut if one.info["kind"] == "instance"):
        alpha = layer.rgba[..., 3:] / 255.0
        pixels = (layer.rgba[..., :3] * alpha + ground * (1 - alpha)).round().astype(np.uint8)
        shown.append(pixels[::2, ::2])
    return draw.join(shown)


def astronaut_order() -> np.ndarray:
    """Occlusion on the photograph, and the amodal masks."""
    result = occ_order.predict(ASTRONAUT / "astronaut.jpg", ASTRONAUT / "astronaut.json")
    kinds = ("occlusion", "amodal")
    drawn = draw.panels(result, load_image(ASTRONAUT / "astronaut.jpg"), kinds=kinds)
    return draw.join([drawn[kind].image for kind in kinds])


def photographs_oosis() -> np.ndarray:
    """Draw what OOSIS finds in both photographs by itself."""
    shown = []
    for photo in (ASTRONAUT / "astronaut.jpg", COFFEE / "coffee.jpg"):
        result = occ_order.predict(photo, model="oosis_photos")
        drawn = draw.panels(result, load_image(photo), kinds=["occlusion"])["occlusion"].image
        height = 420
        width = round(drawn.shape[1] * height / drawn.shape[0])
        size = {"dsize": (width, height), "interpolation": cv2.INTER_AREA}
        shown.append(cv2.resize(drawn, **size))
    return draw.join(shown)


def scene_boundary() -> np.ndarray:
    """Return a scene, its oriented boundary, and the order as labels."""
    ids = occ_order.masks.paint(SCENE.modal, occlusion=SCENE.occlusion)
    _, orientation = targets.oriented_boundary(ids, SCENE.occlusion)
    depth = occ_order.order.relative_depth(SCENE.occlusion)
    return draw.join(
        [
            draw.enlarge(SCENE.image, 2),
            draw.draw_oriented_boundary(orientation, SCENE.image, scale=2),
            draw.draw_relative_depth(SCENE.modal, depth, scale=2, legend=False),
        ]
    )


def scene_levels() -> np.ndarray:
    """How many objects lie in front of each pixel of each hidden object."""
    return draw_levels(SCENE.image, SCENE.levels, side=200, width=860)


def found(model: str) -> np.ndarray:
    """Return what a model that finds instances says of a plain scene, beside the truth."""
    result = occ_order.predict(PLAIN.image, model=model)
    result = result[result.scores >= 0.5]
    sides = result, scene_instances(PLAIN)
    drawn = [draw.panels(side, PLAIN.image, kinds=["occlusion"]) for side in sides]
    return draw.join([panels["occlusion"].image for panels in drawn])


IMAGES: dict[str, Callable[[], np.ndarray]] = {
    "astronaut_order.jpg": astronaut_order,
    "photographs_oosis.jpg": photographs_oosis,
    "coffee_order.jpg": coffee_order,
    "coffee_whole.jpg": coffee_whole,
    "coffee_layers.jpg": coffee_layers,
    "scene_boundary.jpg": scene_boundary,
    "scene_levels.png": scene_levels,
    "oosis_mini_scenes.png": lambda: found("oosis_mini_scenes"),
    "order_head_scenes.png": lambda: found("order_head_scenes"),
    "sln_mini_scenes.png": lambda: found("sln_mini_scenes"),
}
"""File in this folder -> what draws it."""


def main() -> None:
    """Write some of them, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="*", metavar="NAME", help=", ".join(IMAGES))
    for name in parser.parse_args().names or IMAGES:
        drawn = IMAGES[name]()
        jpeg = name.endswith(".jpg")
        data = draw.jpeg_bytes(drawn, quality=82) if jpeg else draw.png_bytes(drawn, colors=256)
        (FOLDER / name).write_bytes(data)
        print(f"{name}: {drawn.shape[1]} x {drawn.shape[0]}, {len(data) // 1000} kB")


if __name__ == "__main__":
    main()
