"""Augmentations in addition to Detectron2's."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np
from detectron2.data import transforms as T


class ResizedWindow(T.Transform):
    """Crop a window from an image and resize it.

    With twenty masks per image, resizing only the window, with OpenCV, is several times faster than
    resizing the image before the crop.
    """

    def __init__(self, window: Sequence[int], size: Sequence[int]) -> None:
        """Initialise the transform.

        Args:
            window: non-empty window x0, y0, x1, y1 inside the image, in pixels.
            size: height and width of the result.
        """
        super().__init__()
        self.window, self.size = tuple(window), tuple(size)

    def apply_image(self, img: np.ndarray) -> np.ndarray:
        """Resize uint8 (H, W, 3) to (*size, 3); area interpolation when shrinking."""
        x0, y0, x1, y1 = self.window
        shrinks = (y1 - y0) * (x1 - x0) > self.size[0] * self.size[1]
        return self._resized(img, cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)

    def apply_segmentation(self, segmentation: np.ndarray) -> np.ndarray:
        """Resize (H, W) to (*size) by nearest-neighbour interpolation."""
        return self._resized(segmentation, cv2.INTER_NEAREST_EXACT)

    def apply_coords(self, coords: np.ndarray) -> np.ndarray:
        """Map points (x, y), float (N, 2), to the result; they may lie outside it."""
        x0, y0, x1, y1 = self.window
        scale = self.size[1] / (x1 - x0), self.size[0] / (y1 - y0)
        return (coords - (x0, y0)) * scale

    def _resized(self, array: np.ndarray, interpolation: int) -> np.ndarray:
        x0, y0, x1, y1 = self.window
        part = np.ascontiguousarray(array[y0:y1, x0:x1])
        return cv2.resize(part, self.size[::-1], interpolation=interpolation)


class LargeScaleJitter(T.Augmentation):
    """Large-scale jitter: resize by a random factor, then crop at random to a maximum size.

    (Ghiasi et al., Simple Copy-Paste, CVPR 2021.) Factor 1 is the largest size at which the whole
    image fits. For smaller factors the result is smaller than `size`; it is not padded.
    """

    def __init__(self, size: Sequence[int], scale: Sequence[float]) -> None:
        """Initialise the augmentation.

        Args:
            size: maximum height and width of the result.
            scale: minimum and maximum factor.

        Raises:
            ValueError: a size below 1, a factor that is not positive, or minimum above maximum.
        """
        super().__init__()
        if min(size) < 1 or not 0 < scale[0] <= scale[1]:
            raise ValueError(
                "large-scale jitter needs a size (height, width) of at least 1 and 0 < least <= "
                f"greatest factor, got size {list(size)} and factors {list(scale)}"
            )
        self.size, self.scale = tuple(size), tuple(scale)

    def get_transform(self, image: np.ndarray) -> ResizedWindow:
        """Draw a factor and a window."""
        whole = np.array(image.shape[:2])
        factor = np.random.uniform(self.scale[0], self.scale[1]) * min(np.array(self.size) / whole)
        size = np.clip(np.round(whole * factor), 1, self.size).astype(int)
        window = np.clip(np.round(size / factor), 1, whole).astype(int)
        y0, x0 = (np.random.randint(rest + 1) for rest in whole - window)
        return ResizedWindow((x0, y0, x0 + window[1], y0 + window[0]), size.tolist())
