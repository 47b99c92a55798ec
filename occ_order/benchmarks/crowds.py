"""Images with any number of instances, for benchmarks; `occ_order.scenes` is limited to 100."""

from __future__ import annotations

import numpy as np

OVERLAP = 1.3
"""Radius of a disc in half cells of the grid, such that adjacent discs overlap."""


def crowd(number: int, size: tuple[int, int], seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Generate an image of noise covered by discs, each in front of those drawn before.

    Args:
        number: N, number of discs.
        size: H, W.
        seed: seed of the positions and the noise.

    Returns:
        uint8 (H, W, 3); bool (N, H, W), disjoint modal masks.
    """
    rng = np.random.default_rng(seed)
    height, width = size
    rows = max(1, round(np.sqrt(number * height / width)))
    columns = -(-number // rows)
    cell = np.array([height / rows, width / columns])
    labels = np.full(size, -1, np.int32)
    places = rng.permutation(rows * columns)[:number]
    for k, place in enumerate(places):
        centre = (np.array(divmod(place, columns)) + 0.5 + rng.uniform(-0.2, 0.2, 2)) * cell
        low = np.maximum(centre - OVERLAP * cell / 2, 0).astype(int)
        high = np.minimum(centre + OVERLAP * cell / 2 + 1, size).astype(int)
        y, x = np.ogrid[low[0] : high[0], low[1] : high[1]]
        away = ((y - centre[0]) / cell[0]) ** 2 + ((x - centre[1]) / cell[1]) ** 2
        labels[low[0] : high[0], low[1] : high[1]][away < (OVERLAP / 2) ** 2] = k
    image = rng.integers(0, 256, (*size, 3), dtype=np.uint8)
    return image, labels == np.arange(number)[:, None, None]
