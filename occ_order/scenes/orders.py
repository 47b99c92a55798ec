"""Depth order of a generated scene, from its depth ranges (see `occ_order.order.encoding`)."""

from __future__ import annotations

import numpy as np

EQUAL_TOLERANCE = 0.01  # of the pair's mean depth


def depth_from_ranges(
    depth_range: np.ndarray, *, tolerance: float = EQUAL_TOLERANCE
) -> tuple[np.ndarray, np.ndarray]:
    """Compute the depth order of all pairs from the depth ranges of the instances.

    InstaOrder, Section 3.2, with A_S and A_E for the nearest and farthest depth of A:

    * A and B are *equal* iff A_S = B_S and A_E = B_E;
    * otherwise A is *closer* than B iff its range starts nearer, A_S < B_S, or iff both start at
      the same depth and it ends nearer, A_S = B_S and A_E < B_E. Where the ranges end does not
      matter when the starts differ: [1, 10] is closer than [2, 4];
    * the pair is *overlapping* iff the ranges have a common depth, else *distinct*. Equal ranges
      are distinct iff they have no extent, A_S = A_E.

    Real-valued depths are hardly ever exactly equal, so equality is tested up to ``tolerance``; the
    starts of all other pairs are compared exactly. The paper does not define ranges that touch,
    A_E = B_S; they overlap here.

    Args:
        depth_range: (N, 2), nearest and farthest depth, smaller = nearer.
        tolerance: maximum difference of equal depths, relative to the mean depth of the pair.

    Returns:
        (depth, overlap): int8 (N, N). ``depth[i, j]`` is 1 if i is closer, 0 if farther, 2 if
        equal, and -1 on the diagonal; ``overlap`` is 1 or 0, and -1 on the diagonal.
    """
    ends = np.asarray(depth_range, dtype=np.float64).reshape(-1, 2)
    near, far = ends[:, 0], ends[:, 1]
    mean = 0.5 * (near + far)
    slack = tolerance * 0.5 * (mean[:, None] + mean)
    same_start = near[:, None] == near
    closer = (near[:, None] < near) | (same_start & (far[:, None] < far))
    equal = (np.abs(near[:, None] - near) <= slack) & (np.abs(far[:, None] - far) <= slack)
    common = np.maximum(near[:, None], near) <= np.minimum(far[:, None], far)
    extent = far - near
    extended = np.maximum(extent[:, None], extent) > slack
    depth = np.where(equal, 2, closer).astype(np.int8)
    overlap = np.where(equal, extended, common).astype(np.int8)
    np.fill_diagonal(depth, -1)
    np.fill_diagonal(overlap, -1)
    return depth, overlap


def annotator_counts(
    rng: np.random.Generator, depth_range: np.ndarray, depth: np.ndarray, overlap: np.ndarray
) -> np.ndarray:
    """Simulate the number of annotators asked about each pair: 2 (easy) to 5.

    An annotator errs with a probability that grows from 0.03 for distant ranges to 0.45 for equal
    ones; as in InstaOrder (Section 3.3), annotators are asked until two agree.

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
