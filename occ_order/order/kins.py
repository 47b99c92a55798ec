"""Conversion from and to the occlusion layers of KINS' 2020 files."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from occ_order.order.encoding import UNKNOWN, check_annotated, integers
from occ_order.order.graph import connected_labels, layers


def occlusion_from_kins(
    oco_ids: ArrayLike, ico_ids: ArrayLike, *, related: np.ndarray | None = None
) -> np.ndarray:
    """Convert the layers of KINS' 2020 files to an occlusion matrix.

    In a cluster (equal ``oco_id``) the instance with the smaller ``ico_id`` occludes the one with
    the larger. ``ico_id`` 0 means that the instance overlaps no other: 0 in all pairs. Two
    instances of a cluster in the same layer are unknown, -1 in both directions. Instances of
    different clusters: 0.

    Layers also order pairs that do not overlap: if A occludes B and B occludes C, then A is before
    C as well. ``related`` restricts the result to pairs that border or overlap.

    Args:
        oco_ids: N cluster ids.
        ico_ids: N layers, 0 or counted from 1 (nearest).
        related: bool (N, N), symmetric, for instance :func:`occ_order.masks.bordering_pairs` or
            amodal overlap; other pairs are 0. None = all pairs of a cluster.

    Returns:
        int8 (N, N), free of cycles.

    Raises:
        ValueError: lengths differ, an id is not an integer, a layer is negative, or ``related`` is
            not (N, N).
    """
    clusters, ranks = integers(oco_ids, "oco_id"), integers(ico_ids, "ico_id")
    if len(clusters) != len(ranks):
        raise ValueError(f"got {len(clusters)} oco_id and {len(ranks)} ico_id")
    if (ranks < 0).any():
        raise ValueError(f"ico_id must be at least 0, got {ranks.min()}")
    near, far = ranks[:, None], ranks[None]
    together = (clusters[:, None] == clusters) & (near > 0) & (far > 0)
    if related is not None:
        if np.shape(related) != together.shape:
            raise ValueError(f"related must be {together.shape}, got {np.shape(related)}")
        together &= np.asarray(related, dtype=bool)
    occ = (together & (near < far)).astype(np.int8)
    occ[together & (near == far)] = UNKNOWN
    np.fill_diagonal(occ, 0)
    return occ


def occlusion_to_kins(occ: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Convert an occlusion matrix to cluster ids and layers of KINS' 2020 files.

    Instances connected by occlusion form a cluster; the layer of an instance is one more than the
    largest layer of its occluders. Layers cannot express mutual occlusion and cycles: such
    instances share one layer and are read back as -1.

    Args:
        occ: (N, N) without -1.

    Returns:
        oco_ids int64 (N,), numbered from 0 by lowest member; ico_ids int64 (N,), 0 for an instance
        without any occlusion, else from 1. ``occlusion_from_kins(..., related=occ | occ.T)``
        restores an ``occ`` without cycles.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix or holds -1.
    """
    occ = check_annotated(occ, "KINS")
    touched = ((occ | occ.T) == 1).any(axis=1)
    return connected_labels(occ), np.where(touched, layers(occ) + 1, 0)
