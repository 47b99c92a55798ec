"""A prediction as one figure: the instances, their order on the image, and the graph."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import numpy as np
from matplotlib.figure import Figure

from occ_order.draw.predictions import prediction_images
from occ_order.files import load_image

if TYPE_CHECKING:
    from occ_order.instances import OrderedInstances

PANELS = {
    "overlay": "instances",
    "occlusion": "who occludes whom",
    "occlusion_graph": "the same as a graph",
    "depth_graph": "who is closer",
    "relative_depth": "relative depth",
    "amodal": "whole objects",
}
"""Drawing of `prediction_images` -> heading."""

SIDE = 4.0
"""Inches of a panel."""


def figure(
    result: OrderedInstances, image: np.ndarray | str | os.PathLike[str] | None = None
) -> Figure:
    """Draw everything that a result says, side by side.

    Args:
        result: instances of one image.
        image: uint8 (H, W, 3) RGB, or its file; None takes the result's own, or white.

    Raises:
        ValueError: the image has another size.
    """
    drawn = prediction_images(ground(result, image), result.to_dict(), class_names=labels(result))
    columns = min(3, len(drawn))
    rows = -(-len(drawn) // columns)
    made = Figure(figsize=(SIDE * columns, SIDE * rows), layout="constrained")
    axes = made.subplots(rows, columns, squeeze=False).ravel()
    for axis in axes:
        axis.set_axis_off()
    for axis, (name, panel) in zip(axes, drawn.items(), strict=False):
        axis.imshow(panel)
        axis.set_title(PANELS[name])
    return made


def overview(result: OrderedInstances) -> np.ndarray:
    """Return the one panel, uint8 (h, w, 3), that says most: arrows, or the instances alone."""
    drawn = prediction_images(ground(result, None), result.to_dict(), class_names=labels(result))
    return drawn.get("occlusion", drawn["overlay"])


def labels(result: OrderedInstances) -> list[str]:
    """Return what the instances are called."""
    return [result.label(k) for k in range(len(result))]


def ground(
    result: OrderedInstances, image: np.ndarray | str | os.PathLike[str] | None
) -> np.ndarray:
    """Return what is drawn on, uint8 (H, W, 3)."""
    if isinstance(image, str | os.PathLike):
        return load_image(image)
    chosen = result.image if image is None else image
    return np.full((*result.size, 3), 255, np.uint8) if chosen is None else chosen
