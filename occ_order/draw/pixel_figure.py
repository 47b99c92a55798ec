"""A matplotlib figure whose coordinates are pixels, without axes.

Axes with their ticks, spines and labels take longer to set up than a graph takes to draw.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
from matplotlib.artist import Artist
from matplotlib.backend_bases import RendererBase
from matplotlib.patches import Circle
from matplotlib.text import Text
from matplotlib.transforms import Affine2D

from occ_order.draw.canvas import figure_image, new_figure

_SHIFT = 4
"""Fractional bits of OpenCV's coordinates for the discs that thumbnails are cut to."""


class PixelFigure:
    """A white figure; points are (x, y), y points down, (0, 0) is its top left corner.

    Args:
        width: in figure pixels.
        height: in figure pixels.
        sharpness: image pixels per figure pixel.
        origin: (x, y) of the top left corner.
    """

    def __init__(
        self, width: float, height: float, *, sharpness: float = 1.0, origin: float = 0.0
    ) -> None:
        self.figure = new_figure(width, height)
        self.width, self.height, self.sharpness = width, height, sharpness
        # The renderer truncates the size of the image, but y is counted from its exact height.
        self.transform = (
            Affine2D()
            .translate(-origin, -origin)
            .scale(sharpness, -sharpness)
            .translate(0, height * sharpness)
        )

    def add(self, artist: Artist) -> None:
        """Add an artist in figure pixels; a higher zorder is drawn later."""
        artist.set_transform(self.transform)
        self.figure.add_artist(artist)

    def circle(self, centre: np.ndarray, radius: float, **style: Any) -> None:
        """Add a circle."""
        self.add(Circle(tuple(centre), radius, **style))

    def text(self, place: Sequence[float] | np.ndarray, text: str, **style: Any) -> None:
        """Add a text."""
        self.add(Text(*place, text, **style))

    def image(self, pixels: np.ndarray) -> None:
        """Draw an image, uint8 (h, w, 3), at the top left, below everything else."""
        size = (round(pixels.shape[1] * self.sharpness), round(pixels.shape[0] * self.sharpness))
        self.figure.add_artist(_Pixels(_resized(pixels, size), self, (0, 0), zorder=-1))

    def disc(self, pixels: np.ndarray, centre: np.ndarray, radius: float, zorder: float) -> None:
        """Draw a square image, uint8 (s, s, 3), cut to a disc in figure pixels."""
        corner = np.floor((centre - radius) * self.sharpness)
        side = int(np.ceil(2 * radius * self.sharpness)) + 1
        middle = centre * self.sharpness - corner - 0.5
        alpha = np.zeros((side, side), np.uint8)
        cv2.circle(
            alpha,
            tuple(np.rint(middle * 2**_SHIFT).astype(int).tolist()),
            round((radius * self.sharpness - 0.5) * 2**_SHIFT),
            255,
            -1,
            cv2.LINE_AA,
            _SHIFT,
        )
        shown = np.dstack([_resized(pixels, (side, side)), alpha])
        place = (int(corner[0]), int(corner[1]))
        self.figure.add_artist(_Pixels(shown, self, place, zorder=zorder))

    def render(self) -> np.ndarray:
        """Return the image, uint8 (about height * sharpness, width * sharpness, 3)."""
        return figure_image(self.figure, sharpness=self.sharpness)


class _Pixels(Artist):
    """An image that is copied to whole pixels of the figure.

    Args:
        pixels: uint8 (h, w, 3), or (h, w, 4) with opacity.
        sheet: the figure.
        place: (x, y) of the top left corner in image pixels.
        zorder: see `PixelFigure.add`.
    """

    def __init__(
        self, pixels: np.ndarray, sheet: PixelFigure, place: tuple[int, int], zorder: float
    ) -> None:
        super().__init__()
        opaque = np.full((*pixels.shape[:2], 4 - pixels.shape[2]), 255, np.uint8)
        self._pixels = np.concatenate([pixels, opaque], axis=2)
        self._left = place[0]
        self._bottom = int(sheet.height * sheet.sharpness) - place[1] - len(pixels)
        self.set_zorder(zorder)

    def draw(self, renderer: RendererBase) -> None:
        """Copy the image; matplotlib calls it."""
        context = renderer.new_gc()
        renderer.draw_image(context, self._left, self._bottom, self._pixels[::-1])
        context.restore()


def _resized(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    if pixels.shape[1::-1] == size:
        return pixels
    smaller = size[0] < pixels.shape[1]
    return cv2.resize(pixels, size, interpolation=cv2.INTER_AREA if smaller else cv2.INTER_CUBIC)
