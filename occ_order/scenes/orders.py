"""Depth order of a generated scene, from its depth ranges (encoding: order/encoding.py)."""

from __future__ import annotations

import numpy as np

EQUAL_TOLERANCE = 0.01  # of the pair's mean depth


def depth_from_ranges(
    depth_range: np.ndarray, *, tolerance: float = EQUAL_TOLERANCE
) -> tuple[np.ndarray, np.ndarray]:
    """Depth order of every pair from the instances' depth ranges.

    The two InstaOrder questions (CVPR 2022, section 3.2), as a rule:

    * *equal* when the nearest ends and the farthest ends both differ by at most ``tolerance`` times
      the mean depth of the pair;
    * otherwise *closer* is the instance whose range has the nearer middle (the nearer end, then the
      lower index, break exact ties);
    * *overlapping* when the ranges have a common depth, else *distinct*.

    Args:
        depth_range: (N, 2), nearest and farthest depth, smaller = nearer.
        tolerance: share of the depth below which two ends count as the same.

    Returns:
        (depth, overlap): int8 (N, N). ``depth[i, j]`` is 1 where i is closer, 0 where farther, 2
        where equal, -1 on the diagonal; ``overlap`` is 1, 0, and -1 on the diagonal.
    """
    ends = np.asarray(depth_range, dtype=np.float64).reshape(-1, 2)
    near, far = ends[:, 0], ends[:, 1]
    count = len(ends)
    middle = 0.5 * (near + far)
    rank = np.empty(count, dtype=np.int64)
    rank[np.lexsort((near, middle))] = np.arange(count)
    depth = (rank[:, None] < rank[None, :]).astype(np.int8)
    slack = tolerance * 0.5 * (middle[:, None] + middle[None, :])
    same = (np.abs(near[:, None] - near) <= slack) & (np.abs(far[:, None] - far) <= slack)
    depth[same] = 2
    overlap = (np.maximum(near[:, None], near) <= np.minimum(far[:, None], far)).astype(np.int8)
    np.fill_diagonal(depth, -1)
    np.fill_diagonal(overlap, -1)
    return depth, overlap


def annotator_counts(
    rng: np.random.Generator, depth_range: np.ndarray, depth: np.ndarray, overlap: np.ndarray
) -> np.ndarray:
    """Simulated number of workers asked about each pair: 2 (easy) to 5.

    A worker errs with a probability that grows from 0.03 for ranges far apart to 0.45 for equal
    ones; as in InstaOrder (section 3.3) workers are asked until two agree.

    Returns:
        int16 (N, N), symmetric, -1 on the diagonal.
    """
    ends = np.asarray(depth_range, dtype=np.float64).reshape(-1, 2)
    middle = ends.mean(axis=1)
    gap = np.abs(middle[:, None] - middle) / (0.5 * (middle[:, None] + middle) + 1e-12)
    doubt = 0.03 + 0.25 * np.clip(1.0 - gap / 0.5, 0.0, 1.0) + 0.1 * (overlap == 1)
    doubt = np.minimum(np.where(depth == 2, 0.45, doubt), 0.45)
    answers = rng.random((4, *doubt.shape)) < doubt  # True = one of the two wrong answers
    kind = rng.integers(0, 2, size=answers.shape)
    said = np.where(answers, 1 + kind, 0)
    count = np.full(doubt.shape, 5, dtype=np.int16)
    for asked in (4, 3, 2):
        seen = said[:asked]
        agree = np.zeros(doubt.shape, dtype=bool)
        for value in range(3):
            agree |= (seen == value).sum(axis=0) >= 2
        count[agree] = asked
    count = np.triu(count, 1)
    count = count + count.T
    np.fill_diagonal(count, -1)
    return count.astype(np.int16)
