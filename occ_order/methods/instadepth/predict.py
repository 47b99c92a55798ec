"""Prediction of the disparity map of one image."""

from __future__ import annotations

import numpy as np
import torch

from occ_order.methods.instadepth.meta_arch import InstaDepthNet


@torch.no_grad()
def predict_disparity(model: InstaDepthNet, image: np.ndarray) -> np.ndarray:
    """Predict the disparity map of an image, without masks.

    Args:
        model: model in evaluation mode.
        image: uint8 (H, W, 3), RGB.

    Returns:
        float32 (H, W), larger = nearer, up to scale and offset; input of
        `occ_order.order.disparity_order`.

    Raises:
        ValueError: invalid or empty image, or model in training mode.
    """
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"image must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    if model.training:
        raise ValueError("the model is in training mode: call model.eval() first")
    if model.input_format == "BGR":
        image = image[..., ::-1]
    tensor = torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))
    return model([{"image": tensor}])[0]["disparity"].cpu().numpy()
