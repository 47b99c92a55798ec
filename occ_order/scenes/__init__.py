"""Synthetic layered scenes: reproducible images with masks, order matrices and disparity.

>>> from occ_order.scenes import generate
>>> scene = generate(7, size=(128, 192), num_instances=5)
>>> scene.image.shape, scene.modal.shape
((128, 192, 3), (5, 128, 192))
"""

from __future__ import annotations

from occ_order.scenes.orders import depth_from_ranges
from occ_order.scenes.scene import (
    PLAIN,
    VERSION,
    Scene,
    draw_size,
    generate,
    generate_many,
    scene_seed,
    to_record,
)
from occ_order.scenes.shapes import CLASSES
from occ_order.scenes.world import KINDS

__all__ = [
    "CLASSES",
    "KINDS",
    "PLAIN",
    "VERSION",
    "Scene",
    "depth_from_ranges",
    "draw_size",
    "generate",
    "generate_many",
    "scene_seed",
    "to_record",
]
