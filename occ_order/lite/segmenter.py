"""The instances of an image by ONNX Runtime: a Mask R-CNN for things of any class.

`occ_order.engine.export_segmenter` writes the graph, from the image to boxes and their small masks;
here the image is prepared, and masks are brought to its size, as Detectron2 does both.

Shapes: N instances, M x M elements of a small mask, H x W pixels. Boxes are ``x0, y0, x1, y1``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occ_order.lite.graph import Graph
from occ_order.lite.image import check_image, network_image, resized_shape

SETTINGS = "occ_order_segmenter"
"""Key of the graph's metadata under which its settings stand."""

INSIDE = 0.5
"""Probability from which on a pixel is inside (Detectron2's detector_postprocess)."""


@dataclass(frozen=True)
class Settings:
    """How an image is prepared; stored in the graph's metadata.

    Attributes:
        min_size, max_size: of the sides to which an image is resized, in pixels.
        channels: "RGB" or "BGR".
        mean: of the three channels; what is added below and on the right has these values.
        divisibility: of the sides that the network looks at.
    """

    min_size: int
    max_size: int
    channels: str
    mean: tuple[float, float, float]
    divisibility: int


@dataclass(frozen=True)
class Found:
    """Instances of one image, the most certain first.

    Attributes:
        boxes: float32 (N, 4), in pixels of the image.
        scores: float32 (N,).
        masks: bool (N, H, W).
    """

    boxes: np.ndarray
    scores: np.ndarray
    masks: np.ndarray


class Segmenter:
    """Finds the instances of images of any size with one graph.

    Args:
        graph: one that `occ_order.engine.export` wrote of a Mask R-CNN with one class.

    Raises:
        ValueError: another graph.
    """

    def __init__(self, graph: Graph) -> None:
        self.settings = graph.settings(Settings, SETTINGS, "finds instances")
        self._graph = graph

    def __call__(self, image: np.ndarray) -> Found:
        """Return the instances of one image.

        Args:
            image: uint8 (H, W, 3), RGB.

        Raises:
            ValueError: another type or shape.
        """
        image, own = check_image(image), self.settings
        height, width = image.shape[:2]
        size = resized_shape((height, width), own.min_size, own.max_size)
        given = {
            "image": network_image(
                image, size, channels=own.channels, mean=own.mean, divisibility=own.divisibility
            ),
            "size": np.array(size, np.int64),
        }
        boxes, scores, small = self._graph.run(("boxes", "scores", "masks"), given)
        scale = np.array([width / size[1], height / size[0]] * 2).astype(np.float32)
        limits = np.array([width, height] * 2, np.float32)
        boxes = np.clip(boxes * scale, 0, limits)
        kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        boxes, scores, small = boxes[kept], scores[kept], small[kept]
        return Found(boxes, scores, pasted(small, boxes, (height, width)))


def pasted(small: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Return masks in the image, as Detectron2's paste_masks_in_image computes them.

    Args:
        small: float32 (N, M, M), probabilities.
        boxes: float32 (N, 4), not empty, inside the image.
        size: H, W.

    Returns:
        bool (N, H, W).
    """
    masks = np.zeros((len(small), *size), bool)
    for mask, values, (x0, y0, x1, y1) in zip(masks, small, boxes, strict=True):
        rows, row_weights = _stretched(y0, y1, size[0], len(values))
        columns, column_weights = _stretched(x0, x1, size[1], len(values))
        mask[rows, columns] = row_weights @ values @ column_weights.T >= INSIDE
    return masks


def _stretched(start: float, end: float, length: int, size: int) -> tuple[slice, np.ndarray]:
    """Return the pixels about a side of a box, and what each takes of the elements of a mask.

    Bilinear interpolation between the centres of the elements, with zeros beyond the mask.

    Returns:
        A slice of P pixels; float32 (P, size).
    """
    first, last = max(int(np.floor(start)) - 1, 0), min(int(np.ceil(end)) + 1, length)
    centres = np.arange(first, last, dtype=np.float32) + np.float32(0.5)
    at = (centres - start) / (end - start) * np.float32(size) - np.float32(0.5)
    weights = 1 - np.abs(at[:, None] - np.arange(size, dtype=np.float32))
    return slice(first, last), np.maximum(weights, 0)
