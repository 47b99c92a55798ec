"""Disparity maps, with ONNX Runtime.

`occ_order.engine.export` exports the graph of a disparity network. Images and maps are resized here
with NumPy, with the same interpolation weights as in PyTorch (`occ_order.methods.instadepth`).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from occ_order.lite.graph import Graph
from occ_order.lite.image import check_image

SETTINGS = "occ_order_disparity"
"""Key of the settings in the graph's metadata."""

CUBIC = -0.75
"""Coefficient of the cubic convolution kernel (Keys 1981) that PyTorch and OpenCV use."""


@dataclass(frozen=True)
class Settings:
    """Preprocessing of the image; stored in the graph's metadata.

    Attributes:
        size: height and width of the network's input, the size of resized images.
        channels: "RGB" or "BGR".
    """

    size: tuple[int, int]
    channels: str


class DisparityMapper:
    """Predict disparity maps of images of any size.

    Args:
        graph: graph of an InstaDepthNet, exported by `occ_order.engine.export`, part "disparity".

    Raises:
        ValueError: unsupported graph.
    """

    def __init__(self, graph: Graph) -> None:
        self.settings = graph.settings(Settings, SETTINGS, "predicts disparity")
        self._graph = graph

    def __call__(self, image: np.ndarray) -> np.ndarray:
        """Predict the disparity map of an image.

        Args:
            image: uint8 (H, W, 3), RGB.

        Returns:
            float32 (H, W), larger = nearer, up to scale and offset.

        Raises:
            ValueError: another dtype or shape.
        """
        image = check_image(image)
        pixels = image if self.settings.channels == "RGB" else image[..., ::-1]
        planes = resampled(pixels.transpose(2, 0, 1), self.settings.size, cubic=True)
        (disparity,) = self._graph.run(["disparity"], {"image": planes[None]})
        size = (image.shape[0], image.shape[1])
        return np.maximum(resampled(disparity, size, cubic=False)[0], 0)


def resampled(values: np.ndarray, size: tuple[int, int], *, cubic: bool) -> np.ndarray:
    """Resize maps without antialiasing, like `torch.nn.functional.interpolate`.

    Args:
        values: (C, H, W).
        size: height and width of the result.
        cubic: "bicubic" instead of "bilinear"; both with align_corners False.

    Returns:
        float32 (C, h, w).
    """
    values = values.astype(np.float32)
    if values.shape[1:] == tuple(size):
        return values
    rows, columns = (_weights(values.shape[k + 1], size[k], cubic=cubic) for k in (0, 1))
    return rows @ values @ columns.T


def _weights(length: int, target: int, *, cubic: bool) -> np.ndarray:
    """Return the interpolation weights of inputs for each output, float32 (target, length)."""
    at = (np.arange(target) + 0.5) * (length / target) - 0.5
    if not cubic:
        at = np.maximum(at, 0)  # PyTorch clamps positions; for cubic kernels it clamps indices only
    first = np.floor(at).astype(np.int64)
    t = at - first
    taps = {0: 1 - t, 1: t}
    if cubic:
        near = {0: t, 1: 1 - t}  # distances below 1
        far = {-1: 1 + t, 2: 2 - t}  # from 1 to 2
        taps = {k: ((CUBIC + 2) * x - (CUBIC + 3)) * x * x + 1 for k, x in near.items()}
        taps |= {k: CUBIC * (((x - 5) * x + 8) * x - 4) for k, x in far.items()}
    weights = np.zeros((target, length))
    for offset, weight in taps.items():
        np.add.at(weights, (np.arange(target), np.clip(first + offset, 0, length - 1)), weight)
    return weights.astype(np.float32)
