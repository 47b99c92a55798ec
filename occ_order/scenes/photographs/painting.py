"""Blending of layers into the image, with the same borders for occluders and occludees."""

from __future__ import annotations

import cv2
import numpy as np

from occ_order.scenes.photographs.layers import Layer


class Brush:
    """Paints the layers of one image, with common lighting parameters.

    Args:
        canvas: uint8 (H, W, 3), RGB, modified in place.
        rng: random generator.
    """

    def __init__(self, canvas: np.ndarray, rng: np.random.Generator) -> None:
        self.canvas, self.rng = canvas, rng
        self.match = float(rng.uniform(0.0, 0.6))
        self.shadow = float(rng.uniform(0.15, 0.55)) if rng.random() < 0.35 else 0.0
        self.light = rng.normal(0.0, 0.06, 2) + (0.0, 0.04)

    def paint(self, layer: Layer) -> None:
        """Paint a layer: its shadow, then the object with its border feathered by one pixel."""
        image = self._in_the_light(layer)
        if self.shadow and self.rng.random() < 0.75:
            self._cast(layer)
        layer.image = image
        self._blend(layer, cv2.GaussianBlur(layer.mask, (3, 3), 0.7))

    def paint_over(self, layer: Layer) -> None:
        """Paint again `layer.over`, the part that is in front of a later layer."""
        assert layer.over is not None  # the composer repeats only layers with such a part
        part = cv2.dilate(layer.over.view(np.uint8) * np.uint8(255), np.ones((3, 3), np.uint8))
        self._blend(layer, cv2.GaussianBlur(cv2.bitwise_and(part, layer.mask), (3, 3), 0.7))

    def _view(self, layer: Layer) -> tuple[tuple[slice, slice], tuple[slice, slice]] | None:
        """Return slices of the part of a layer inside the image: (in the canvas, in the layer)."""
        height, width = self.canvas.shape[:2]
        y0, x0 = max(layer.y, 0), max(layer.x, 0)
        y1 = min(layer.y + layer.mask.shape[0], height)
        x1 = min(layer.x + layer.mask.shape[1], width)
        if y1 <= y0 or x1 <= x0:
            return None
        own = np.s_[y0 - layer.y : y1 - layer.y, x0 - layer.x : x1 - layer.x]
        return np.s_[y0:y1, x0:x1], own

    def _in_the_light(self, layer: Layer) -> np.ndarray:
        """Return the layer's image with its mean colour shifted towards its surroundings."""
        rng = self.rng
        gain, shift = rng.uniform(0.88, 1.12), rng.normal(0.0, 5.0, 3)
        blur = rng.uniform(0.0, 1.0)
        views = self._view(layer)
        if views is None:
            return layer.image
        own = np.array(cv2.mean(layer.image, layer.mask)[:3])
        there = np.array(cv2.mean(self.canvas[views[0]])[:3])
        target = own + self.match * (there - own) + shift
        levels = np.arange(256)[:, None]
        table = np.clip(gain * (levels - own) + target + 0.5, 0, 255).astype(np.uint8)
        image = cv2.LUT(layer.image, table[None])
        return cv2.GaussianBlur(image, (3, 3), blur) if blur > 0.4 else image

    def _cast(self, layer: Layer) -> None:
        """Paint the shadow of a layer on the canvas."""
        size = float(np.sqrt(max(layer.mask.size, 1)))
        soft = max(1.0, 0.04 * size * (0.5 + self.rng.random()))
        pad = int(3 * soft) + 1
        mask = cv2.copyMakeBorder(layer.mask, pad, pad, pad, pad, cv2.BORDER_CONSTANT, value=0)
        mask = cv2.GaussianBlur(mask, (0, 0), min(soft, 9.0))
        dx, dy = (round(float(v) * size) for v in self.light)
        fallen = Layer(layer.image, mask, 0, False, layer.x - pad + dx, layer.y - pad + dy)
        views = self._view(fallen)
        if views is None:
            return
        there = self.canvas[views[0]]
        keep = 255 - cv2.convertScaleAbs(mask[views[1]], alpha=self.shadow)
        there[:] = cv2.multiply(there, cv2.merge([keep] * 3), scale=1 / 255)

    def _blend(self, layer: Layer, alpha: np.ndarray) -> None:
        views = self._view(layer)
        if views is None:
            return
        there, own = self.canvas[views[0]], layer.image[views[1]]
        share = cv2.merge([alpha[views[1]]] * 3)
        there[:] = cv2.add(
            cv2.multiply(own, share, scale=1 / 255),
            cv2.multiply(there, 255 - share, scale=1 / 255),
        )


def develop(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Randomly degrade the image by blur, noise and JPEG compression.

    Args:
        image: uint8 (H, W, 3), RGB.
        rng: random generator.

    Returns:
        uint8 (H, W, 3).
    """
    if rng.random() < 0.3:
        image = cv2.GaussianBlur(image, (3, 3), float(rng.uniform(0.3, 0.9)))
    if rng.random() < 0.5:
        most = int(rng.integers(2, 10))
        noise = rng.integers(-most, most + 1, image.shape, dtype=np.int8)
        image = cv2.add(image, noise.astype(np.int16), dtype=cv2.CV_8U)
    if rng.random() < 0.5:
        flags = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(50, 96))]
        decoded = cv2.imdecode(cv2.imencode(".jpg", image, flags)[1], cv2.IMREAD_COLOR)
        assert decoded is not None  # encoded in this line
        image = decoded
    return image
