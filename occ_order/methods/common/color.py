"""Colour augmentation."""

from __future__ import annotations

import cv2
import numpy as np


def jittered_color(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Randomly change brightness, contrast, saturation and hue of an image, uint8 (H, W, 3) RGB."""
    hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV).astype(np.int16)
    hsv[..., 0] = (hsv[..., 0] + int(rng.integers(-8, 9))) % 180
    hsv[..., 1] = np.clip(hsv[..., 1] * rng.uniform(0.5, 1.5), 0, 255)
    changed = cv2.cvtColor(hsv.astype(np.uint8), cv2.COLOR_HSV2RGB)
    gain, mean = rng.uniform(0.6, 1.4), float(changed.mean())
    return cv2.convertScaleAbs(
        changed, alpha=gain, beta=max(-mean * gain, mean * (1 - gain) + rng.uniform(-32, 32))
    )
