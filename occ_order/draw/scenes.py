"""Contact sheets of generated scenes and composed photographs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from occ_order.draw.canvas import join
from occ_order.draw.disparity import draw_disparity
from occ_order.draw.graphs import draw_graph_on_image
from occ_order.draw.levels import draw_overlaps
from occ_order.draw.whole import draw_amodal
from occ_order.scenes import Scene


def draw_scene(scene: Scene) -> np.ndarray:
    """Draw a scene and its ground truth side by side.

    Returns:
        Image: the scene, its amodal masks, then for a generated scene the number of objects at each
        pixel and the disparity, and for a composed photograph, which has no disparity, the
        occlusion order of things (without stuff) on the image.
    """
    parts = [scene.image, draw_amodal(scene.image, scene.modal, scene.amodal, label_size=10)]
    if scene.disparity is None:
        stuff = np.zeros(len(scene.modal), bool) if scene.stuff is None else scene.stuff
        edges = np.where(stuff[:, None] | stuff[None, :], 0, scene.occlusion)
        parts.append(draw_graph_on_image(scene.image, scene.modal, edges))
    else:
        overlaps = draw_overlaps(scene.amodal, size=scene.image.shape[:2])
        parts += [overlaps, draw_disparity(scene.disparity)]
    return join(parts, gap=4)


def contact_sheet(scenes: Sequence[Scene], *, columns: int = 2) -> np.ndarray:
    """Draw several scenes of any sizes on one sheet.

    Args:
        scenes: at least one scene.
        columns: number of scenes per row.
    """
    drawn = [draw_scene(scene) for scene in scenes]
    rows = [join(drawn[k : k + columns], gap=12) for k in range(0, len(drawn), columns)]
    return join(rows, axis=0, gap=12)
