"""Procedural textures and relief shading of the generated scenes.

Pixels are computed only with integer operations, exactly rounded float32 arithmetic (+ - * / sqrt
floor) and OpenCV's integer filters, so that the result of a seed is the same on every CPU.
"""

from __future__ import annotations

import colorsys
import math

import cv2
import numpy as np

KINDS = (
    "plain", "gradient", "stripes", "checks", "dots", "bricks", "noise", "speckle", "wood", "cloth",
)  # fmt: skip


def value_noise(
    rng: np.random.Generator, height: int, width: int, cell: float, octaves: int = 3
) -> np.ndarray:
    """Return value noise: a sum of interpolated random grids, each finer and weaker than the last.

    Args:
        rng: random source.
        height, width: size in pixels.
        cell: distance of the coarsest grid's nodes, pixels.
        octaves: number of grids.

    Returns:
        float32 (height, width) in [0, 1].
    """
    total = np.zeros((height, width), dtype=np.float32)
    weight, norm = 1.0, 0.0
    for _ in range(octaves):
        rows, cols = int(height / cell) + 2, int(width / cell) + 2
        grid = rng.integers(0, 256, size=(min(rows, height), min(cols, width)), dtype=np.uint8)
        fine = cv2.resize(grid, (width, height), interpolation=cv2.INTER_LINEAR_EXACT)
        total += np.float32(weight / 255.0) * fine
        norm += weight
        weight, cell = 0.5 * weight, max(0.5 * cell, 1.0)
    return total / np.float32(norm)


def _axes(rng: np.random.Generator, height: int, width: int, angle: float):
    c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    y = np.arange(height, dtype=np.float32)[:, None]
    x = np.arange(width, dtype=np.float32)[None, :]
    return x * c + y * s + np.float32(1000.0), y * c - x * s + np.float32(1000.0)


def _wave(phase: np.ndarray, sharpness: float) -> np.ndarray:
    """Return a wave of period 1 in [0, 1]; from triangle to square wave with rising sharpness."""
    saw = phase - np.floor(phase)
    triangle = np.abs(saw * np.float32(2.0) - np.float32(1.0))
    return np.clip((triangle - np.float32(0.5)) * np.float32(sharpness) + np.float32(0.5), 0, 1)


def _dots(u: np.ndarray, v: np.ndarray, period: np.float32) -> np.ndarray:
    a, b = u / period, v / period
    a, b = a - np.floor(a) - np.float32(0.5), b - np.floor(b) - np.float32(0.5)
    return np.clip(np.float32(1.6) - (a * a + b * b) * np.float32(16.0), 0, 1)


def _bricks(u: np.ndarray, v: np.ndarray, period: np.float32) -> np.ndarray:
    row = np.floor(v / period)
    shifted = u / (np.float32(2.0) * period) + np.float32(0.5) * (row - 2 * np.floor(row / 2))
    a, b = shifted - np.floor(shifted), v / period - row
    mortar = np.minimum(np.minimum(a, 1 - a) * np.float32(2.0), np.minimum(b, 1 - b))
    return np.clip(mortar * np.float32(9.0), 0, 1)


def _wood(rng: np.random.Generator, u, v, period: np.float32) -> np.ndarray:
    height, width = np.broadcast_shapes(u.shape, v.shape)
    warp = value_noise(rng, height, width, 6.0 * float(period), 2)
    rings = _wave(v / (np.float32(1.6) * period) + warp * np.float32(3.0), 1.3)
    streaks = value_noise(rng, height, max(width // 8, 1), 1.5, 1)
    fine = cv2.resize(streaks, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.float32(0.75) * rings + np.float32(0.25) * fine


def pattern(
    kind: str, rng: np.random.Generator, height: int, width: int, period: float
) -> np.ndarray:
    """Return a random greyscale pattern.

    Args:
        kind: one of :data:`KINDS`.
        rng: random source.
        height, width: size in pixels.
        period: size of the pattern's element in pixels.

    Returns:
        float32 (height, width) in [0, 1].
    """
    p = np.float32(max(period, 2.5))
    upright = kind in ("bricks", "wood") and rng.random() < 0.8
    u, v = _axes(rng, height, width, rng.normal(0, 0.05) if upright else math.tau * rng.random())
    if kind == "stripes":
        return _wave(u / p, rng.uniform(1.0, 8.0))
    if kind == "checks":
        a, b = _wave(u / (2 * p), 12.0), _wave(v / (2 * p), 12.0)
        return a + b - 2 * a * b
    if kind == "dots":
        return _dots(u, v, np.float32(1.3) * p)
    if kind == "bricks":
        return _bricks(u, v, np.float32(0.9) * p)
    if kind == "noise":
        cloud = value_noise(rng, height, width, 1.5 * float(p), 4)
        return np.clip((cloud - np.float32(0.5)) * np.float32(2.2) + np.float32(0.5), 0, 1)
    if kind == "speckle":
        grain = value_noise(rng, height, width, max(0.25 * float(p), 1.0), 1)
        return (grain > np.float32(rng.uniform(0.6, 0.8))).astype(np.float32)
    if kind == "wood":
        return _wood(rng, u, v, p)
    if kind == "cloth":
        weave = _wave(u / (np.float32(0.35) * p), 1.0) * _wave(v / (np.float32(0.35) * p), 1.0)
        return np.float32(0.5) * weave + np.float32(0.5) * value_noise(rng, height, width, 2 * p, 2)
    if kind == "gradient":
        span = np.float32(max(height, width))
        return np.clip((u - np.float32(1000.0)) / span * np.float32(0.7) + np.float32(0.5), 0, 1)
    return np.float32(0.3) * value_noise(rng, height, width, 4 * float(p), 2)


def hsv(hue: float, saturation: float, value: float) -> np.ndarray:
    """Convert hue in turns, saturation, value in [0, 1] (clipped) to RGB float32 (3,), 0 .. 255."""
    s, v = min(max(saturation, 0.0), 1.0), min(max(value, 0.0), 1.0)
    return np.array(colorsys.hsv_to_rgb(hue % 1.0, s, v), dtype=np.float32) * np.float32(255.0)


def two_colours(rng: np.random.Generator, hue: float) -> tuple[np.ndarray, np.ndarray]:
    """Sample the two colours of a pattern: one of hue ``hue``, the other a variation of it."""
    saturation, value = rng.beta(3.0, 2.0), rng.uniform(0.35, 0.95)
    first = hsv(hue, saturation, value)
    change = rng.uniform(0.25, 0.6) * (1.0 if value < 0.55 else -1.0)
    saturation *= rng.uniform(0.3, 1.1)
    second = hsv(hue + rng.normal(0.0, 0.05), saturation, value + change)
    return first, second


def texture(
    rng: np.random.Generator,
    height: int,
    width: int,
    *,
    hue: float,
    period: float,
    kinds=KINDS,
    contrast: float = 1.0,
) -> np.ndarray:
    """Return a random coloured texture.

    Args:
        rng: random source.
        height, width: size in pixels.
        hue: hue of the dominant colour, in turns.
        period: size of the pattern's element in pixels.
        kinds: patterns to sample from.
        contrast: factor on the contrast of pattern and grain; 0 = one colour.

    Returns:
        float32 (height, width, 3), RGB in [0, 255].
    """
    first, second = two_colours(rng, hue)
    grey = pattern(str(rng.choice(kinds)), rng, height, width, period)[..., None]
    mixed = grey * ((second - first) * np.float32(contrast * rng.uniform(0.5, 1.0)))
    mixed += first
    grain = value_noise(rng, height, width, max(1.0, 0.2 * period), 2)[..., None]
    mixed *= np.float32(1.0 - 0.08 * contrast) + np.float32(0.16 * contrast) * grain
    return mixed


def relief(mask: np.ndarray, radius: float) -> np.ndarray:
    """Compute the height of a surface with a bevel shaped like a quarter circle, flat inside.

    Args:
        mask: (H, W) bool.
        radius: bevel radius in pixels; the surface reaches 1 that far from the outline.

    Returns:
        float32 (H, W): 0 at the outline and outside, 1 inside. With a radius of half the width, a
        disc becomes a sphere, a bar a cylinder and a ring a torus.
    """
    inside = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    # The variant with labels: without labels, results differ where OpenCV uses Intel's IPP.
    distance = cv2.distanceTransformWithLabels(inside, cv2.DIST_L2, cv2.DIST_MASK_5)[0][1:-1, 1:-1]
    steep = np.float32(1.0) - np.minimum(distance / np.float32(max(radius, 1.0)), np.float32(1.0))
    height = np.sqrt(np.maximum(np.float32(1.0) - steep * steep, np.float32(0.0)))
    size = 3 if radius < 12 else 5
    smooth = cv2.blur((height * np.float32(65535.0)).astype(np.uint16), (size, size))
    return cv2.blur(smooth, (size, size)).astype(np.float32) / np.float32(65535.0)


def shade(
    height: np.ndarray, radius: float, light: np.ndarray, gloss: float
) -> tuple[np.ndarray, np.ndarray]:
    """Compute diffuse shading and highlight of a relief.

    Args:
        height: float32 (H, W) from :func:`relief`.
        radius: bevel radius in pixels, the unit of ``height``.
        light: (3,) unit vector towards the light: right, down, towards the viewer.
        gloss: strength of the highlight.

    Returns:
        (diffuse, highlight): float32 (H, W); diffuse is a factor about 1, highlight in [0, gloss].
    """
    padded = cv2.copyMakeBorder(height, 1, 1, 1, 1, cv2.BORDER_REPLICATE)
    scale = np.float32(0.5 * max(radius, 1.0) * 0.9)
    nx = (padded[1:-1, :-2] - padded[1:-1, 2:]) * scale
    ny = (padded[:-2, 1:-1] - padded[2:, 1:-1]) * scale
    length = np.sqrt(nx * nx + ny * ny + np.float32(1.0))
    lx, ly, lz = (np.float32(v) for v in light)
    cosine = np.maximum((nx * lx + ny * ly + lz) / length, np.float32(0.0))
    diffuse = np.float32(0.42) + np.float32(0.72) * cosine
    spot = cosine * cosine
    spot = spot * spot * spot
    spot = spot * spot * spot
    return diffuse, np.float32(gloss) * spot * spot
