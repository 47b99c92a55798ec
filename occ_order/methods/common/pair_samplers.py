"""Samplers of training pairs of an image.

A sampled pair is *ordered*: (first, second), as in the input of the network. Only annotated pairs
(not -1) are sampled. A sampler returns int64 (P, 2); (0, 2) if the image has no suitable pair.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

NAMES = ("occlusion", "depth", "all")


def sample_occlusion_pairs(
    occlusion: np.ndarray,
    rng: np.random.Generator,
    *,
    num_pairs: int = 1,
    positive_ratio: float = 0.7,
) -> np.ndarray:
    """Sample entries of the occlusion matrix, positive ones with a given probability.

    Each pair is then reversed with probability 1/2. An image without any occlusion yields no pairs:
    the papers take another image instead. If there is no entry of 0, all pairs are positive.

    Args:
        occlusion: int (N, N), 1 / 0 / -1; the diagonal is ignored.
        rng: random generator.
        num_pairs: P, sampled with replacement.
        positive_ratio: probability of a pair whose first instance occludes the second (before the
            reversal).

    Returns:
        int64 (P, 2) or (0, 2).
    """
    off_diagonal = ~np.eye(len(occlusion), dtype=bool)
    positive = np.argwhere((occlusion == 1) & off_diagonal)
    negative = np.argwhere((occlusion == 0) & off_diagonal)
    if len(positive) == 0:
        return np.zeros((0, 2), np.int64)
    if len(negative) == 0:
        negative = positive
    wanted = rng.random(num_pairs) < positive_ratio
    drawn = np.where(
        wanted[:, None],
        positive[rng.integers(len(positive), size=num_pairs)],
        negative[rng.integers(len(negative), size=num_pairs)],
    )
    return _turned(drawn, rng)


def sample_depth_pairs(
    depth: np.ndarray, rng: np.random.Generator, *, num_pairs: int = 1
) -> np.ndarray:
    """Sample pairs with a depth order, each reversed with probability 1/2.

    Args:
        depth: int (N, N), -1 = not annotated.
        rng: random generator.
        num_pairs: P, sampled with replacement.

    Returns:
        int64 (P, 2), or (0, 2) if no pair is annotated.
    """
    known = annotated_pairs(depth)
    if len(known) == 0:
        return known
    return _turned(known[rng.integers(len(known), size=num_pairs)], rng)


def annotated_pairs(*matrices: np.ndarray) -> np.ndarray:
    """Return every pair i < j that is annotated in at least one matrix.

    Args:
        matrices: int (N, N) each, -1 = not annotated.

    Returns:
        int64 (P, 2), row-major.
    """
    known = np.any([np.asarray(matrix) >= 0 for matrix in matrices], axis=0)
    return np.argwhere(np.triu(known | known.T, 1)).astype(np.int64)


def sample_pairs(
    name: str,
    occlusion: np.ndarray,
    depth: np.ndarray,
    rng: np.random.Generator,
    *,
    num_pairs: int = 1,
    positive_ratio: float = 0.7,
) -> np.ndarray:
    """Sample pairs by the name of a sampler in the configuration.

    Args:
        name: "occlusion", "depth" or "all" (`annotated_pairs` of both, each reversed with
            probability 1/2).
        occlusion: int (N, N).
        depth: int (N, N).
        rng, num_pairs, positive_ratio: see the samplers.

    Returns:
        int64 (P, 2).

    Raises:
        ValueError: unknown name.
    """
    if name == "occlusion":
        return sample_occlusion_pairs(
            occlusion, rng, num_pairs=num_pairs, positive_ratio=positive_ratio
        )
    if name == "depth":
        return sample_depth_pairs(depth, rng, num_pairs=num_pairs)
    if name == "all":
        return _turned(annotated_pairs(occlusion, depth), rng)
    raise ValueError(f"MODEL.PAIRWISE.SAMPLER.NAME must be one of {NAMES}, got {name!r}")


def draw_jitter(
    num_pairs: int, rng: np.random.Generator, *, shift: float, scale: Sequence[float]
) -> np.ndarray:
    """Sample shift and scale of crops, for `occ_order.methods.common.pair_crops.pair_squares`.

    Args:
        num_pairs: P.
        rng: random generator.
        shift: maximum absolute shift relative to the side of the crop.
        scale: minimum and maximum scale of the objects.

    Returns:
        float32 (P, 3): shift of x, shift of y, scale.
    """
    shifts = rng.uniform(-shift, shift, (num_pairs, 2))
    least, greatest = scale
    scales = rng.uniform(least, greatest, num_pairs)
    return np.column_stack([shifts, scales]).astype(np.float32)


def _turned(pairs: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    turn = rng.random(len(pairs)) < 0.5
    return np.where(turn[:, None], pairs[:, ::-1], pairs).astype(np.int64)
