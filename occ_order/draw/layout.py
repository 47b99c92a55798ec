"""Layered layout of order graphs.

Layered graph drawing (Sugiyama, Tagawa and Toda, 1981): unoccluded instances are in the top row,
arrows point downwards, and long arrows get waypoints so that they pass between the nodes of the
rows they cross. Instances on a common cycle share a row.

Shape shorthand: ``N`` instances. Coordinates are (x, y) in node pitches, y grows downwards.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import Any

import networkx as nx
import numpy as np

from occ_order.order.graph import cycles, layers

STAGGER_FROM = 9
"""Rows with more nodes than this are staggered at two heights, to keep the drawing narrow."""

_SWEEPS = 12
_WAYPOINT_ROOM = 0.4


@dataclass(frozen=True)
class Layout:
    """Layout of one order graph.

    Attributes:
        positions: float64 (N, 2), (x, y); the leftmost node has x = 0, the top row y = 0.
        routes: edge (i, j) -> waypoints float64 (K, 2) strictly between its ends.
        loose: bool (N,), instances without any edge; they are placed below all rows.
        groups: tuples of instances on a common cycle, each of size >= 2.
    """

    positions: np.ndarray
    routes: dict[tuple[int, int], np.ndarray]
    loose: np.ndarray
    groups: list[tuple[int, ...]] = field(default_factory=list)


def order_edges(occ: np.ndarray) -> list[tuple[int, int]]:
    """List the edges (i, j), i occludes j, in row-major order.

    Args:
        occ: (N, N); 1 = i occludes j, anything else = no edge; the diagonal is ignored.

    Raises:
        ValueError: not square.
    """
    occ = np.asarray(occ)
    if occ.ndim != 2 or occ.shape[0] != occ.shape[1]:
        raise ValueError(f"occ must have shape (N, N), got {occ.shape}")
    return [(int(i), int(j)) for i, j in np.argwhere(occ == 1) if i != j]


def layered_layout(occ: np.ndarray, *, columns: int = 7) -> Layout:
    """Lay out an occlusion graph in rows from front to back.

    Args:
        occ: (N, N); ``occ[i, j] == 1`` iff i occludes j; 0 and -1 draw nothing.
        columns: minimum number of columns of the rows of instances without edges.

    Returns:
        The layout. No two nodes share a position; the result is deterministic.

    Raises:
        ValueError: `occ` is not square.
    """
    edges = order_edges(occ)
    count = len(np.asarray(occ))
    graph = nx.DiGraph(edges)
    linked = sorted(graph.nodes)
    row_of = dict(zip(linked, layers(occ)[linked].tolist(), strict=True))
    groups = [tuple(group) for group in cycles(occ)]
    rows, segments, chains = _with_waypoints(row_of, edges)
    _sort_rows(rows, segments, graph, groups)
    x = _columns(rows, segments, groups)
    heights = _row_heights(rows)
    positions = np.zeros((count, 2))
    for row, nodes in enumerate(rows):
        real = [node for node in nodes if isinstance(node, int)]
        stagger = len(real) > STAGGER_FROM
        for k, node in enumerate(real):
            positions[node] = x[node], heights[row] + (0.62 * (k % 2) if stagger else 0.0)
    row_index = {node: row for row, nodes in enumerate(rows) for node in nodes}
    routes = {
        edge: np.array([(x[n], heights[row_index[n]]) for n in chain]).reshape(-1, 2)
        for edge, chain in chains.items()
    }
    loose = np.ones(count, bool)
    loose[list(row_of)] = False
    _place_loose(positions, loose, columns)
    return Layout(positions, routes, loose, groups)


def _with_waypoints(
    row_of: dict[int, int], edges: list[tuple[int, int]]
) -> tuple[list[list], list[tuple], dict[tuple[int, int], list]]:
    """Split edges that skip rows into segments through waypoints (i, j, row)."""
    rows: list[list] = [[] for _ in range(max(row_of.values(), default=-1) + 1)]
    for instance in sorted(row_of):
        rows[row_of[instance]].append(instance)
    segments: list[tuple] = []
    chains: dict[tuple[int, int], list] = {}
    for i, j in edges:
        chain = [(i, j, row) for row in range(row_of[i] + 1, row_of[j])]
        for point in chain:
            rows[point[2]].append(point)
        path = [i, *chain, j]
        if row_of[i] != row_of[j]:
            segments.extend(itertools.pairwise(path))
        chains[i, j] = chain
    return rows, segments, chains


def _neighbours(segments: list[tuple]) -> tuple[dict, dict]:
    above: dict = {}
    below: dict = {}
    for upper, lower in segments:
        below.setdefault(upper, []).append(lower)
        above.setdefault(lower, []).append(upper)
    return above, below


def _sort_rows(
    rows: list[list], segments: list[tuple], graph: nx.DiGraph, groups: list[tuple[int, ...]]
) -> None:
    """Sort each row by the mean position of its neighbours (barycentre heuristic), in place.

    The members of a cycle stay adjacent: they share the mean of their barycentres.
    """
    above, below = _neighbours(segments)
    group_of = {node: group for group in groups for node in group}
    parts = sorted(nx.weakly_connected_components(graph), key=lambda p: (-len(p), min(p)))
    part = {node: k for k, nodes in enumerate(parts) for node in nodes}

    def component(node: int | tuple) -> int:
        return part[node if isinstance(node, int) else node[0]]

    place = {}
    for row in rows:
        row.sort(key=component)
        place.update({node: k for k, node in enumerate(row)})
    for sweep in range(_SWEEPS):
        linked = above if sweep % 2 == 0 else below
        for row in rows if sweep % 2 == 0 else rows[::-1]:
            wish = {
                node: float(np.mean([place[n] for n in linked.get(node, [node])])) for node in row
            }
            for group in groups:
                if group[0] in wish:
                    wish.update(dict.fromkeys(group, float(np.mean([wish[n] for n in group]))))
            keys = {n: (component(n), wish[n], group_of.get(n, ()), place[n]) for n in row}
            row.sort(key=keys.__getitem__)
            place.update({node: k for k, node in enumerate(row)})


def _columns(rows: list[list], segments: list[tuple], groups: list[tuple[int, ...]]) -> dict:
    """Compute x of every node and waypoint: close to its neighbours, with minimum distances."""
    above, below = _neighbours(segments)
    beside = {node: [n for n in group if n != node] for group in groups for node in group}
    x: dict[Any, float] = {}
    gaps = []
    for row in rows:
        dense = sum(isinstance(node, int) for node in row) > STAGGER_FROM
        room = np.array(
            [_WAYPOINT_ROOM if not isinstance(n, int) else 0.58 if dense else 1.0 for n in row]
        )
        offsets = np.concatenate([[0.0], np.cumsum((room[:-1] + room[1:]) / 2)])
        gaps.append(offsets)
        x.update(zip(row, offsets - offsets.mean(), strict=True))
    for sweep in range(2 * _SWEEPS):
        order = range(len(rows)) if sweep % 2 == 0 else range(len(rows) - 1, -1, -1)
        for k in order:
            wish = []
            for node in rows[k]:
                linked = above.get(node, []) + below.get(node, []) + beside.get(node, [])
                wish.append(np.mean([x[n] for n in linked]) if linked else x[node])
            x.update(zip(rows[k], _keep_apart(np.array(wish), gaps[k]), strict=True))
    leftmost = min((value for node, value in x.items() if isinstance(node, int)), default=0.0)
    return {node: value - leftmost for node, value in x.items()}


def _keep_apart(wish: np.ndarray, offsets: np.ndarray) -> np.ndarray:
    """Return the least-squares closest positions to `wish` with given minimum offsets.

    Isotonic regression of ``wish - offsets`` by the pool-adjacent-violators algorithm.
    """
    blocks: list[tuple[float, int]] = []
    for value in wish - offsets:
        mean, size = float(value), 1
        while blocks and blocks[-1][0] > mean:
            before, many = blocks.pop()
            mean = (mean * size + before * many) / (size + many)
            size += many
        blocks.append((mean, size))
    return np.repeat([mean for mean, _ in blocks], [size for _, size in blocks]) + offsets


def _row_heights(rows: list[list]) -> list[float]:
    heights, y = [], 0.0
    for row in rows:
        heights.append(y)
        crowded = sum(isinstance(node, int) for node in row) > STAGGER_FROM
        y += 1.62 if crowded else 1.0
    return heights


def _place_loose(positions: np.ndarray, loose: np.ndarray, columns: int) -> None:
    """Place the instances without edges in rows below all others, in place."""
    drawn = positions[~loose]
    top = drawn[:, 1].max() + 1.15 if len(drawn) else 0.0
    wide = max(columns, int(drawn[:, 0].max()) + 1) if len(drawn) else columns
    for k, instance in enumerate(np.flatnonzero(loose)):
        positions[instance] = k % wide, top + 0.9 * (k // wide)
