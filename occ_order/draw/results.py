"""A prediction as a matplotlib figure, and as a single overview panel."""

from __future__ import annotations

import os

import numpy as np
from matplotlib.figure import Figure

from occ_order.draw.image_panels import Panel, panels
from occ_order.files import load_image
from occ_order.instances import OrderedInstances
from occ_order.panels import SUMMARY

SIDE = 4.0
"""Side of a panel in inches."""


def figure(
    result: OrderedInstances, image: np.ndarray | str | os.PathLike[str] | None = None
) -> Figure:
    """Draw the panels of a result side by side.

    Args:
        result: instances of one image.
        image: uint8 (H, W, 3) RGB, or its file; None = `result.image`, or white.

    Raises:
        ValueError: the image has another size.
    """
    kinds = [kind for kind in SUMMARY if kind != "image" or _is_known(result, image)]
    if result.occlusion is None:
        kinds.append("depth_graph")
    drawn = panels(result, ground(result, image), kinds=kinds)
    columns = min(3, len(drawn))
    rows = -(-len(drawn) // columns)
    made = Figure(figsize=(SIDE * columns, SIDE * rows), layout="constrained")
    axes = made.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, panel in zip(axes, drawn.values(), strict=False):
        axis.imshow(panel.image)
        axis.set_title(panel.heading)
    return made


def overview(result: OrderedInstances) -> Panel:
    """Draw an overview panel: the occlusion order on the image, or the instances only."""
    kind = "overlay" if result.occlusion is None else "occlusion"
    return panels(result, ground(result, None), kinds=[kind])[kind]


def ground(
    result: OrderedInstances, image: np.ndarray | str | os.PathLike[str] | None
) -> np.ndarray:
    """Return the background image, uint8 (H, W, 3)."""
    if isinstance(image, str | os.PathLike):
        return load_image(image)
    chosen = result.image if image is None else image
    return np.full((*result.size, 3), 255, np.uint8) if chosen is None else chosen


def _is_known(result: OrderedInstances, image: object) -> bool:
    return image is not None or result.image is not None
