"""Inner loops of :func:`occ_order.crf.regions.search_regions`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from occ_order.crf._kernels.compile import allocating_kernel, kernel

INFEASIBLE = 1 << 62

# A move drags along at most this many regions; longer chains were never worth their time.
MAX_CHAIN = 256


class Contacts(NamedTuple):
    """A :class:`occ_order.crf.regions.RegionGraph` whose contacts are weighted; all int64."""

    start: np.ndarray
    """(R + 1,): row r is ``start[r]`` to ``start[r + 1]``."""
    neighbour: np.ndarray
    """(E,), region on the other side."""
    smooth: np.ndarray
    """(E,), cost of different labels: lambda times the pairs of pixels in contact."""
    front: np.ndarray
    """(E,), mu times the pairs of O in which this region occludes that neighbour."""
    behind: np.ndarray
    """(E,), mu times those in which that neighbour occludes this region."""
    unary: np.ndarray
    """(R,), cost of a positive label less that of label 0."""


@kernel
def contact_cost(step, smooth, front, behind):
    """Energy of one contact; ``step`` = this label minus the neighbour's."""
    if step == 0:
        return 0
    if step > 0:
        return INFEASIBLE if behind > 0 else smooth - front
    return INFEASIBLE if front > 0 else smooth - behind


@kernel
def raise_chain(region, value, graph, labels, proposal, chain):
    """Write ``value`` and what it forces into ``proposal``; list the changed regions in ``chain``.

    A region that occludes a changed one stays in front of it if it was, and never falls behind.

    Returns:
        The length of the chain, negative if it comes back to its start or grows too long.
    """
    start, neighbour, behind = graph.start, graph.neighbour, graph.behind
    proposal[region] = value
    chain[0] = region
    length = 1
    for _ in range(MAX_CHAIN):
        again = False
        k = 0
        while k < length:
            a = chain[k]
            k += 1
            for e in range(start[a], start[a + 1]):
                b = neighbour[e]
                need = proposal[a] + 1 if labels[b] > labels[a] else proposal[a]
                if behind[e] == 0 or proposal[b] >= need:
                    continue
                if b == region or length == MAX_CHAIN:
                    return -length
                if proposal[b] == labels[b]:
                    chain[length] = b
                    length += 1
                else:
                    again = True  # its own neighbours may have been visited already
                proposal[b] = need
        if not again:
            return length
    return -length


@kernel
def energy_change(chain, length, graph, labels, proposal):
    """Exact change of energy when the regions of ``chain`` take their proposal."""
    start, neighbour, smooth, front, behind, unary = graph
    change = 0
    for k in range(length):
        a = chain[k]
        change += unary[a] * (int(proposal[a] > 0) - int(labels[a] > 0))
        for e in range(start[a], start[a + 1]):
            b = neighbour[e]
            if proposal[b] != labels[b] and b < a:
                continue  # both change: counted once, from the smaller index
            new = contact_cost(proposal[a] - proposal[b], smooth[e], front[e], behind[e])
            if new == INFEASIBLE:
                return INFEASIBLE
            change += new - contact_cost(labels[a] - labels[b], smooth[e], front[e], behind[e])
    return change


@kernel
def best_move(region, graph, labels, proposal, chain, tried, stamp):
    """Return the label that lowers the energy most if ``region`` takes it, together with its chain.

    Candidates are 0, the label just above the region's own, its neighbours' labels and the labels
    just above these; of equally good ones the smallest. ``tried`` marks them with ``stamp``, a
    number not used before.

    Returns:
        The change of energy, at most 0, and the label, -1 if nothing lowers the energy.
    """
    start, neighbour = graph.start, graph.neighbour
    best, best_value = 0, -1
    tried[labels[region]] = stamp
    for e in range(start[region] - 1, start[region + 1]):
        # The first round is for background and the label just above the region's own.
        first = 0 if e < start[region] else labels[neighbour[e]]
        second = (labels[region] if e < start[region] else first) + 1
        for value in (first, second):
            if value >= len(tried) or tried[value] == stamp:
                continue
            tried[value] = stamp
            length = raise_chain(region, value, graph, labels, proposal, chain)
            if length > 0:
                change = energy_change(chain, length, graph, labels, proposal)
                if change < best or (change == best and value < best_value):
                    best, best_value = change, value
            for k in range(abs(length)):
                proposal[chain[k]] = labels[chain[k]]
    return best, best_value


@allocating_kernel
def search(graph, labels):
    """Take the best move of all regions, again and again, until none lowers the energy.

    The best one, not the first, so that the answer does not depend on how the regions are numbered
    (but for ties). Changes ``labels`` in place and returns the change of energy. A move can change
    what others are worth farther away than the neighbours that are looked at again; so its own
    worth is checked before it is taken, and that of all regions once more at the end.
    """
    num = len(labels)
    start, neighbour = graph.start, graph.neighbour
    proposal = labels.copy()
    chain, moved = np.empty(MAX_CHAIN, np.int64), np.empty(MAX_CHAIN, np.int64)
    tried = np.zeros(labels.max() + num + 2, np.int64)
    gain = np.zeros(num, np.int64)
    stamp = total = 0
    stuck = False
    while not stuck:
        stuck = True
        for region in range(num):
            stamp += 1
            gain[region] = best_move(region, graph, labels, proposal, chain, tried, stamp)[0]
        while gain.min() < 0:
            region = gain.argmin()
            expected = gain[region]
            stamp += 1
            gain[region], value = best_move(region, graph, labels, proposal, chain, tried, stamp)
            if gain[region] != expected:
                continue
            stuck = False
            total += expected
            length = raise_chain(region, value, graph, labels, proposal, moved)
            for k in range(length):
                labels[moved[k]] = proposal[moved[k]]
            for k in range(length):
                a = moved[k]
                for e in range(start[a] - 1, start[a + 1]):
                    b = a if e < start[a] else neighbour[e]
                    stamp += 1
                    gain[b] = best_move(b, graph, labels, proposal, chain, tried, stamp)[0]
    return total
