"""Inner loops of :func:`occ_order.crf.regions.search_regions`.

A graph comes as its arrays (:class:`occ_order.crf.regions.RegionGraph`), with contacts already
weighted: ``smooth`` = lambda x length, ``front`` and ``behind`` = mu x number of pairs.
"""

from __future__ import annotations

import numpy as np

from occ_order.crf._compile import kernel

INFEASIBLE = 1 << 62

# A move drags along at most this many regions; longer chains were never worth their time.
MAX_CHAIN = 256


@kernel
def contact_cost(step, smooth, front, behind):
    """Energy of one contact; ``step`` = this label minus the neighbour's."""
    if step == 0:
        return 0
    if step > 0:
        return INFEASIBLE if behind > 0 else smooth - front
    return INFEASIBLE if front > 0 else smooth - behind


@kernel
def raise_chain(region, value, start, neighbour, behind, labels, proposal, chain):
    """Write ``value`` and what it forces into ``proposal``; list the changed regions in ``chain``.

    A region that occludes a changed one stays in front of it if it was, and never falls behind.

    Returns:
        The length of the chain, negative if it comes back to its start or grows too long.
    """
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
def energy_change(chain, length, start, neighbour, smooth, front, behind, unary, labels, proposal):
    """Exact change of energy when the regions of ``chain`` take their proposal."""
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
def sweep(start, neighbour, smooth, front, behind, unary, labels, dirty):
    """Give every dirty region the best of 0, its neighbours' labels and the labels just above them.

    Changes ``labels`` and ``dirty`` in place; never raises the energy.

    Returns:
        Whether anything changed.
    """
    num = len(labels)
    proposal = labels.copy()
    chain = np.empty(MAX_CHAIN, np.int64)
    tried = np.full(labels.max() + num + 2, -1)  # the last region that tried each label
    changed = False
    for region in range(num):
        if not dirty[region]:
            continue
        dirty[region] = False
        best, best_value = 0, -1
        tried[labels[region]] = region
        for e in range(start[region] - 1, start[region + 1]):
            # The first round is for background and the label just above the region's own.
            first = 0 if e < start[region] else labels[neighbour[e]]
            second = (labels[region] if e < start[region] else first) + 1
            for value in (first, second):
                if value >= len(tried) or tried[value] == region:
                    continue
                tried[value] = region
                length = raise_chain(
                    region, value, start, neighbour, behind, labels, proposal, chain
                )
                if length > 0:
                    change = energy_change(
                        chain,
                        length,
                        start,
                        neighbour,
                        smooth,
                        front,
                        behind,
                        unary,
                        labels,
                        proposal,
                    )
                    if change < best:
                        best, best_value = change, value
                for k in range(abs(length)):
                    proposal[chain[k]] = labels[chain[k]]
        if best_value < 0:
            continue
        length = raise_chain(region, best_value, start, neighbour, behind, labels, proposal, chain)
        for k in range(length):
            a = chain[k]
            labels[a] = proposal[a]
            dirty[a] = True
            for e in range(start[a], start[a + 1]):
                dirty[neighbour[e]] = True
        changed = True
    return changed
