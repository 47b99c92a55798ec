"""Class-agnostic instance segmentation by Mask R-CNN, with ONNX Runtime.

`occ_order.engine.export_segmenter` exports the graph, from the image to boxes and masks in boxes.
Preprocessing of the image and pasting of masks are done here, as in Detectron2.

Shapes: N instances, M x M mask of a box, H x W pixels. Boxes are ``x0, y0, x1, y1``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occ_order.lite.graph import Graph
from occ_order.lite.image import check_image, network_image, resized_shape
from occ_order.methods.segmenter.mirrored import Boxed, merged, mirrored

SETTINGS = "occ_order_segmenter"
"""Key of the settings in the graph's metadata."""

INSIDE = 0.5
"""Probability threshold of mask pixels (Detectron2's detector_postprocess)."""


@dataclass(frozen=True)
class Settings:
    """Preprocessing; stored in the graph's metadata.

    Attributes:
        min_size, max_size: minimum and maximum of the sides after resizing, in pixels.
        channels: "RGB" or "BGR".
        mean: padding value of each channel, on the bottom and right.
        divisibility: the sides of the network's input are multiples of this.
        mirror: also see the mirror image and merge both (`occ_order.methods.segmenter.mirrored`).
        most: maximum number of instances.
    """

    min_size: int
    max_size: int
    channels: str
    mean: tuple[float, float, float]
    divisibility: int
    mirror: bool = False
    most: int = 100


@dataclass(frozen=True)
class Found:
    """Instances of one image, by descending score.

    Attributes:
        boxes: float32 (N, 4), in pixels of the image.
        scores: float32 (N,).
        masks: bool (N, H, W).
    """

    boxes: np.ndarray
    scores: np.ndarray
    masks: np.ndarray


class Segmenter:
    """Segment the instances of images of any size.

    Args:
        graph: graph of a Mask R-CNN with one class, exported by `occ_order.engine.export`.

    Raises:
        ValueError: unsupported graph.
    """

    def __init__(self, graph: Graph) -> None:
        self.settings = graph.settings(Settings, SETTINGS, "finds instances")
        self._graph = graph

    def __call__(self, image: np.ndarray) -> Found:
        """Return the instances of one image.

        Args:
            image: uint8 (H, W, 3), RGB.

        Raises:
            ValueError: another dtype or shape.
        """
        image, own = check_image(image), self.settings
        height, width = image.shape[:2]
        size = resized_shape((height, width), own.min_size, own.max_size)
        found = self._seen(image, size)
        if own.mirror:
            other = self._seen(np.ascontiguousarray(image[:, ::-1]), size)
            found = merged(found, mirrored(other, size[1]), most=own.most)
        boxes, scores, small = found
        scale = np.array([width / size[1], height / size[0]] * 2).astype(np.float32)
        limits = np.array([width, height] * 2, np.float32)
        boxes = np.clip(boxes * scale, 0, limits)
        kept = (boxes[:, 2:] > boxes[:, :2]).all(axis=1)
        boxes, scores, small = boxes[kept], scores[kept], small[kept]
        return Found(boxes, scores, pasted(small, boxes, (height, width)))

    def _seen(self, image: np.ndarray, size: tuple[int, int]) -> Boxed:
        """Run the network on an image that is resized to (height, width)."""
        own = self.settings
        given = {
            "image": network_image(
                image, size, channels=own.channels, mean=own.mean, divisibility=own.divisibility
            ),
            "size": np.array(size, np.int64),
        }
        return Boxed(*self._graph.run(("boxes", "scores", "masks"), given))


def pasted(small: np.ndarray, boxes: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """Paste masks into the image, as Detectron2's paste_masks_in_image does.

    Args:
        small: float32 (N, M, M), probabilities.
        boxes: float32 (N, 4), non-empty, inside the image.
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
    """Return the pixels along one axis of a box, and their interpolation weights.

    Bilinear interpolation between the centres of mask elements, with zeros outside the mask.

    Returns:
        Slice of P pixels; float32 (P, size), weights of the elements.
    """
    first, last = max(int(np.floor(start)) - 1, 0), min(int(np.ceil(end)) + 1, length)
    centres = np.arange(first, last, dtype=np.float32) + np.float32(0.5)
    at = (centres - start) / (end - start) * np.float32(size) - np.float32(0.5)
    weights = 1 - np.abs(at[:, None] - np.arange(size, dtype=np.float32))
    return slice(first, last), np.maximum(weights, 0)
