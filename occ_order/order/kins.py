"""The layers of KINS' 2020 files, in which a cluster of instances is ordered front to back."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from occ_order.order.encoding import UNKNOWN, check_annotated, integers
from occ_order.order.graph import connected_labels, layers


def occlusion_from_kins(
    oco_ids: ArrayLike, ico_ids: ArrayLike, *, related: np.ndarray | None = None
) -> np.ndarray:
    """Occlusion matrix from the layers of KINS' 2020 files.

    In a cluster (equal ``oco_id``) the instance with the smaller ``ico_id`` occludes the one with
    the larger. ``ico_id`` 0 means "overlaps nothing": 0 with everybody. Two instances of a cluster
    with one layer: the file does not say, -1 both ways. Instances of different clusters: 0.

    The layers say who would be in front, not who meets whom: in a cluster where A covers B and B
    covers C, A-C is ordered too. ``related`` limits the answer to pairs that really meet.

    Args:
        oco_ids: N cluster ids.
        ico_ids: N layers, 0 or counted from 1 (nearest).
        related: bool (N, N), symmetric, for instance :func:`occ_order.masks.bordering_pairs` or
            amodal overlap; pairs outside it get 0. None relates all pairs of a cluster.

    Returns:
        int8 (N, N), free of cycles.

    Raises:
        ValueError: lengths differ, an id is not an integer, a layer is negative, ``related`` is
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
    """KINS 2020 cluster ids and layers from an occlusion matrix.

    Instances connected by occlusion form a cluster; the layer is one more than the largest layer
    of what occludes the instance. Mutual occlusion and cycles cannot be written in layers: such
    instances share one layer and read back as -1.

    Args:
        occ: (N, N) without -1.

    Returns:
        oco_ids int64 (N,), counted from 0 by lowest member; ico_ids int64 (N,), 0 for an instance
        without any occlusion, else from 1. ``occlusion_from_kins(..., related=occ | occ.T)`` gives
        an ``occ`` without cycles back.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix or holds -1.
    """
    occ = check_annotated(occ, "KINS")
    touched = ((occ | occ.T) == 1).any(axis=1)
    return connected_labels(occ), np.where(touched, layers(occ) + 1, 0)
