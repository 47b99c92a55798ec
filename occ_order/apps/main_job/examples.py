"""Annotated images that the main demo runs on."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from occ_order import scenes
from occ_order.files import load_image
from occ_order.formats.checks import size_mismatch
from occ_order.formats.cocoa import load_cocoa
from occ_order.formats.labelme import load_labelme
from occ_order.formats.results import results_of
from occ_order.instances import OrderedInstances
from occ_order.masks import bordering_pairs

SCENE_SIZES = ((240, 320), (160, 160), (256, 384), (320, 240), (360, 480), (480, 640))
"""(H, W) of the generated scenes, used in turn."""

NETWORK_SEED = 50_000
"""Seed of the network's first test image; none of these images were in its training set."""


@dataclass(frozen=True)
class Example:
    """One annotated image.

    Attributes:
        key: prefix of file names, unique in a report.
        title: heading in the report.
        truth: N instances with their order and their image; `amodal` where it is annotated.
        left_out: names of annotated stuff regions, which are treated as background.
    """

    key: str
    title: str
    truth: OrderedInstances
    left_out: tuple[str, ...] = ()

    @property
    def image(self) -> np.ndarray:
        """The image, uint8 (H, W, 3) RGB."""
        assert self.truth.image is not None  # all readers of examples give it
        return self.truth.image

    @property
    def occlusion(self) -> np.ndarray:
        """The ground-truth order of occlusion, int8 (N, N)."""
        assert self.truth.occlusion is not None  # readers refuse images without
        return self.truth.occlusion

    def judged_edges(self) -> np.ndarray:
        """Return bool (N, N): one-way ground-truth orders between touching visible masks."""
        occlusion = self.occlusion
        return (occlusion == 1) & ~(occlusion.T == 1) & bordering_pairs(self.truth.modal)


def scene_examples(count: int, seed: int) -> list[Example]:
    """Generate `count` scenes of different sizes, reproducible by `seed`."""
    examples = []
    for k in range(count):
        height, width = SCENE_SIZES[k % len(SCENE_SIZES)]
        # Only every third scene has pairs that occlude each other, because one label per instance
        # cannot order these.
        interlocked = 0.3 if k % 3 == 2 else 0.0
        scene = scenes.generate(
            seed + k, size=(height, width), num_instances=(6, 14), interlocked=interlocked
        )
        title = f"Generated scene {k + 1} ({width} x {height} pixels)"
        examples.append(example_from_scene(scene, f"scene_{k + 1}", title, k + 1))
    return examples


def network_examples(count: int, seed: int) -> list[Example]:
    """Generate scenes of the size and kind that the network was trained on, but unseen ones."""
    examples = []
    for k in range(count):
        scene = scenes.generate(NETWORK_SEED + 100 * seed + k, size=(160, 160), **scenes.PLAIN)
        examples.append(example_from_scene(scene, f"network_{k + 1}", f"Image {k + 1}", k + 1))
    return examples


def example_from_scene(scene: scenes.Scene, key: str, title: str, image_id: int) -> Example:
    """Return an example with the instances of a scene that are at least partly visible."""
    seen = scene.modal.any((1, 2))
    truth = OrderedInstances(
        image_id,
        scene.image.shape[:2],
        scene.modal[seen],
        amodal=scene.amodal[seen],
        classes=scene.classes[seen] + 1,
        names=tuple(scenes.CLASSES[c] for c in scene.classes[seen]),
        occlusion=scene.occlusion[np.ix_(seen, seen)],
        image=scene.image,
    )
    return Example(key, title, truth)


def labelme_examples(folder: str | os.PathLike[str], key: str) -> list[Example]:
    """Load a folder of labelme files with the occlusion order of its `order.csv`.

    Args:
        folder: folder with images, JSON files and the table.
        key: prefix of the keys of the examples.

    Raises:
        ValueError: invalid annotation, no occlusion order, or an image that is missing, unreadable
            or of another size.
    """
    records, categories = load_labelme(folder)
    return [
        _example(record, categories, f"{key}_{k + 1}", Path(record["file_name"]).name)
        for k, record in enumerate(records)
    ]


def cocoa_examples(
    json_file: str | os.PathLike[str], image_root: str | os.PathLike[str]
) -> list[Example]:
    """Load photographs with COCOA annotation; stuff regions are treated as background.

    Raises:
        ValueError: as `labelme_examples`.
    """
    examples = []
    for k, record in enumerate(load_cocoa(json_file, image_root)):
        title = f"Photograph {k + 1} ({Path(record['file_name']).name})"
        try:
            examples.append(_example(record, (), f"photograph_{k + 1}", title))
        except ValueError as error:
            raise ValueError(f"{os.fspath(json_file)}: {error}") from error
    return examples


def _example(
    record: Mapping[str, Any], categories: Sequence[dict[str, Any]], key: str, title: str
) -> Example:
    path = Path(record["file_name"])
    image, stated = load_image(path), (record["height"], record["width"])
    if image.shape[:2] != stated:
        raise ValueError(f"{path}: the annotation {size_mismatch(stated, image.shape[:2])}")
    if "occlusion" not in record:
        raise ValueError(f"{path}: there is no order of occlusion")
    result = OrderedInstances.from_dict(results_of(record, list(categories)), image=image)
    names = [name.strip() or "thing" for name in result.names or [""] * len(result)]
    stuff = np.array([bool(one.get("is_stuff", 0)) for one in record["annotations"]], bool)
    truth = result.replace(names=tuple(names), depth=None, overlap=None, count=None)
    truth = truth[~stuff & result.modal.any((1, 2))].replace(ids=None)
    return Example(key, title, truth, tuple(names[k] for k in np.flatnonzero(stuff)))
