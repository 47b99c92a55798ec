"""Amodal masks of input masks, by a network that completes one view at a time.

Shared by PyTorch (`occ_order.methods.completion.meta_arch`) and ONNX Runtime (`occ_order.lite`).
Shapes: N instances, H x W pixels, S the side of a view.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

import numpy as np
from scipy.special import expit

from occ_order import masks as mask_tools
from occ_order.instances import OrderedInstances
from occ_order.methods.completion import views

GREY = 127
"""Value of the canvas outside the image."""

NEAR_FRAME = 2
"""Distance in pixels within which a mask reaches the frame; annotated outlines stop short of it."""


@dataclass(frozen=True)
class Settings:
    """Settings of the crops of the completion network and thresholds on its output.

    Attributes:
        size: S.
        reach, margin: see `views.view_square`.
        occluder_threshold: occlusion probability above which an instance is an occluder; masks are
            completed behind occluders only.
        threshold: probability above which an occluded pixel belongs to the instance.
    """

    size: int = 64
    reach: float = 3.0
    margin: float = 1.1
    occluder_threshold: float = 0.5
    threshold: float = 0.4


def complete(
    modal: np.ndarray,
    chances: np.ndarray,
    network: Callable[[np.ndarray], np.ndarray],
    settings: Settings,
) -> np.ndarray:
    """Predict the amodal masks of the instances of one image.

    Views are processed one by one, not in batches, so that the result of an instance is bitwise
    independent of the order of the instances.

    Args:
        modal: bool (N, H, W).
        chances: float (N, N), probability that the row occludes the column; the diagonal is
            ignored.
        network: view, float32 (`views.CHANNELS`, S, S) -> logits, float32 (S, S).
        settings: settings of the network.

    Returns:
        bool (N, H, W): the modal masks, extended behind the occluders.
    """
    boxes = np.array([mask_tools.bounding_box(mask) for mask in modal]).reshape(-1, 4)
    result = modal.copy()
    for index in range(len(modal)):
        weights = np.where(chances[:, index] >= views.LEAST_WEIGHT, chances[:, index], 0.0)
        weights[index] = 0
        front = np.flatnonzero(chances[:, index] > settings.occluder_threshold)
        front = front[front != index]
        if not len(front) or not (boxes[index] != 0).any():
            continue
        square = views.view_square(
            boxes[index], boxes[weights > 0], reach=settings.reach, margin=settings.margin
        )
        rows, columns = views.shown(square, modal.shape[1:])
        hiding = modal[front, rows, columns].any(0) & ~modal[index, rows, columns]
        if hiding.any():
            view = views.mask_view(modal, boxes, index, weights, square, settings.size)
            inside = views.paste(expit(network(view)), square, modal.shape[1:])
            result[index, rows, columns] |= (inside > settings.threshold) & hiding
    return result


class Completer(Protocol):
    """Common interface of the PyTorch and the ONNX Runtime model."""

    @property
    def settings(self) -> Settings:
        """Settings of the crops and thresholds."""

    def complete(self, modal: np.ndarray, chances: np.ndarray) -> np.ndarray:
        """Predict amodal masks; see the function `complete`."""


def completed(
    ordered: OrderedInstances, completer: Completer, *, beyond_frame: float = 0.0
) -> OrderedInstances:
    """Predict the amodal masks of instances whose occlusion order is known.

    Args:
        ordered: instances with an occlusion order, ground truth or predicted.
        completer: predicts the amodal masks.
        beyond_frame: also complete instances that the frame of the image cuts off, on a canvas that
            is larger by this share of the image's height and width on each side, as D2SA annotates
            them. The result has the size of the canvas (see :func:`on_canvas`). 0 = off.

    Raises:
        ValueError: the instances have no occlusion order (names the image), or `beyond_frame` is
            not in [0, 1].
    """
    if ordered.occlusion is None:
        raise ValueError(f"image {ordered.image_id!r}: without an order nothing is completed")
    if not 0 <= beyond_frame <= 1:
        raise ValueError(f"beyond_frame must be in [0, 1], got {beyond_frame}")
    said = ordered.occlusion == 1
    chances = said.astype(float) if ordered.occlusion_prob is None else ordered.occlusion_prob
    # An occlusion that was removed to resolve a cycle is no occlusion, whatever its probability.
    never = (chances > completer.settings.occluder_threshold) & ~said
    chances = np.where(never, 0.0, chances)
    if not beyond_frame:
        return ordered.replace(amodal=completer.complete(ordered.modal, chances))
    canvas, outside = on_canvas(ordered, beyond_frame)
    # The network knows occluders, not frames: what lies outside occludes what reaches the frame.
    number = len(ordered)
    extended = np.zeros((number + 1, number + 1))
    extended[:number, :number] = chances
    extended[number, :number] = _reach_frame(ordered.modal)
    modal = np.concatenate([canvas.modal, outside[None]])
    return canvas.replace(amodal=completer.complete(modal, extended)[:number])


def on_canvas(ordered: OrderedInstances, share: float) -> tuple[OrderedInstances, np.ndarray]:
    """Move an image with its instances to the middle of a larger canvas.

    Args:
        ordered: instances of one image.
        share: width of the rim, as a share of the image's height and width, rounded to pixels.

    Returns:
        The instances on the canvas; the rim of the image is grey. Maps that are not known there
        (disparity, levels, sem-dist) are removed. And bool, the size of the canvas: the rim.
    """
    rim = [(round(share * side),) * 2 for side in ordered.size]

    def moved(stack: np.ndarray | None) -> np.ndarray | None:
        return None if stack is None else np.pad(stack, [(0, 0), *rim])

    image = ordered.image
    if image is not None:
        image = np.pad(image, [*rim, (0, 0)], constant_values=GREY)
    outside = np.pad(np.zeros(ordered.size, bool), rim, constant_values=True)
    canvas = ordered.replace(
        size=outside.shape,
        modal=moved(ordered.modal),
        amodal=moved(ordered.amodal),
        levels=None,
        sem_dist=None,
        disparity=None,
        image=image,
    )
    return canvas, outside


def _reach_frame(modal: np.ndarray) -> np.ndarray:
    """Return which masks reach the frame of their image, up to `NEAR_FRAME` pixels: bool (N,)."""
    inner = np.ones(modal.shape[1:], bool)
    inner[NEAR_FRAME:-NEAR_FRAME, NEAR_FRAME:-NEAR_FRAME] = False
    return np.any(modal & inner, axis=(1, 2))
