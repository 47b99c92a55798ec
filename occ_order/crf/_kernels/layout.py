"""Layout of the compiled solver (:mod:`occ_order.crf.grid`): the records that its kernels take.

All arrays are flat, over the pixels of the image and *pad pixels* around it, so that every pixel
has four neighbours and no kernel tests for the border. Pixel (x, y) has the index
``p = (y + 1) * stride + x + 1``. An image with H = 2, W = 4 (`#` = pad pixel)::

    stride = (W + 1) | 1 = 5 (odd)      size = (H + 2) * stride + 1 = 21

             x = -1    0    1    2    3
    y = -1       #0   #1   #2   #3   #4
    y =  0       #5    6    7    8    9     the pad to the right of a row is the one
    y =  1      #10   11   12   13   14     to the left of the next: 9 + 1 = #10
    y =  2      #15  #16  #17  #18  #19
                #20

Directions d: 0 = left, 1 = right, 2 = top, 3 = bottom; ``d ^ 1`` is the opposite of d and
``offsets = (-1, 1, -stride, stride)`` leads from p to its neighbour q. ``r_cap[d, p]`` is the arc
from q into p, ``r_cap[d ^ 1, q]`` the arc from p into q::

                                p - stride
                                  |    ^
                     r_cap[2, p]  v    |  r_cap[3, p - stride]

             r_cap[0, p] ---->                <---- r_cap[1, p]
     p - 1                          p                            p + 1
             <---- r_cap[1, p - 1]            r_cap[0, p + 1] ---->

                     r_cap[3, p]  ^    |  r_cap[2, p + stride]
                                  |    v
                                p + stride

The names are those of Boykov and Kolmogorov ("An experimental comparison of min-cut/max-flow
algorithms for energy minimization in vision", PAMI 2004) and of their program: ``r_cap`` the
residual capacity of an arc between pixels, ``tr_cap`` that of a pixel's arcs to the terminals,
tree S of the source and tree T of the sink, parents, active nodes and orphans.

Pushing flow reparametrises the energy function: its values stay the same. So the labels may change
under a flow: arcs whose capacity does not change keep their flow, that of the others is cancelled.

Only arrays and numbers stand in the records: numba takes them apart at compile time, so that a
record costs no more than its fields. This file does not import numba.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

# Codes of a node. Codes 1..4 are 1 + the direction of the parent.
FREE, ROOT, ORPHAN, SUPPLY = 0, 5, 6, 7
TIE = ORPHAN  # moves in the largest minimum cut only; after the search there are no orphans
CODE = 7  # mask of a node's code
QUEUED = 8  # the first of a node's two queue bits
LEVEL = 5  # shift of a node's level


class Weights(NamedTuple):
    """Costs of a pair of neighbours, in units of 1 / SCALE, and the capacity of hard arcs."""

    smoothness: int
    """lambda of the paper: cost of different labels."""
    occlusion: int
    """mu of the paper: gain of an ordered pair whose front pixel has the larger label."""
    hard: int
    """Capacity of an arc that forbids a labelling: 2**29, or 2**61 in 64 bits."""
    limit: int
    """Residual capacity that a hard arc must keep, half of ``hard``; below it, flow overflows."""


class Grid(NamedTuple):
    """The CRF of one image and its current labelling."""

    unary: np.ndarray
    """int32 (H, W): cost of a positive label less that of label 0."""
    stride: int
    """Index distance of vertical neighbours; odd."""
    pairs: np.ndarray
    """uint8 (size,). Bit d: p occludes its neighbour d; bit 4 + d: that neighbour occludes p."""
    labels: np.ndarray
    """int32 (size,), the current labelling; pad pixels have a label far from all others."""
    node: np.ndarray
    """uint32 (size,). Bits 0-2 (CODE): FREE, in no tree, terminal capacity 0; SUPPLY, in no tree,
    terminal capacity > 0; ROOT, terminal capacity < 0; ORPHAN, without a parent; or 1 + d, the
    direction of p's parent. Bits 3-4: in the queue of active nodes of an even / odd level. From bit
    5 (LEVEL): level, about the distance to the root. With the tree of the source, the signs are
    exchanged."""
    marks: np.ndarray
    """uint8, memory for the marks of a row, whole blocks of 64."""
    words: np.ndarray
    """int64, the memory of ``marks``: eight unmarked pixels are skipped by one comparison."""
    weights: Weights


class Residual(NamedTuple):
    """Residual graph of the jumps with one bound; amounts of flow are int32 or int64."""

    r_cap: np.ndarray
    """int (4, size), >= 0: residual capacity of the arc from p's neighbour d to p."""
    arcs: np.ndarray
    """uint8 (size,). Bit d: ``r_cap[d, p] > 0``; bit 4 + d: the opposite arc, from p to that
    neighbour, has residual capacity. Searches read this byte instead of eight capacities."""
    tr_cap: np.ndarray
    """int (size,), residual terminal capacity: > 0, a *supply*, of the arc from the source (raising
    p costs so much); < 0, a *demand*, of the arc to the sink (raising p gains so much)."""


class Moved(NamedTuple):
    """The pixels that a cut moves."""

    runs: np.ndarray
    """uint32, first pixel and end of each run of inner pixels: these move with all four neighbours,
    have the labels of these and no ordered pair, so that no capacity of theirs changes."""
    rim: np.ndarray
    """uint32, the other pixels that move."""


class Search(NamedTuple):
    """State of one search for augmenting paths (:mod:`.flow`)."""

    residual: Residual
    node: np.ndarray
    """See :class:`Grid`."""
    chain: np.ndarray
    """int32 (size,): next pixel in the list of p. Outside lists, it may hold a negative stamp, the
    timestamp of Boykov and Kolmogorov: p's parents have been followed to a root."""
    heads: np.ndarray
    """int32 (size + 3,): first pixel of the list of each level, < 0 if the list is empty."""
    lost: np.ndarray
    """uint32 (2 * size + 256,): first the lost pixels, which were in the tree and found no other
    parent. The memory behind them, or the second half, is used as the queue of a search."""
    waiting: np.ndarray
    """uint32 (size + 1,): pixels in the tree with an amount still to be pushed to their parents."""
    pending: np.ndarray
    """int64 (6,), the scalars that kernels share; its indices stand in :mod:`.flow`."""
    stride: int
    limit: int
    """See :attr:`Weights.limit`."""
    way: int
    """FORWARD: tree T, from the sink; REVERSE: tree S, from the source."""


class Around(NamedTuple):
    """Views of a run of pixels in one array, and of the runs of their four neighbours."""

    here: np.ndarray
    left: np.ndarray
    right: np.ndarray
    above: np.ndarray
    below: np.ndarray
