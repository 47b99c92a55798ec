"""Fusion of two labellings on the implicit grid (layout: :mod:`.layout`)."""

from __future__ import annotations

import numpy as np

from occ_order.crf._kernels.arcs import (
    BLOCK,
    WIDE_BLOCK,
    any_moves,
    around,
    beside,
    directions,
    fill,
    list_marks,
    moves,
    note_arc,
)
from occ_order.crf._kernels.compile import inlined, kernel, step


@inlined
def step_cost(step, front, behind, weights):
    """Energy of a pair; ``front``, ``behind``: p occludes q, q occludes p."""
    if step == 0:
        return 0
    return weights.smoothness - weights.occlusion * (front if step > 0 else behind)


@inlined
def fuse_pair(p, q, d, grid, proposal, residual):
    """Arcs and costs of one ordered pair of the fusion; q is p's neighbour in direction d.

    A pair has four costs: neither takes the proposal, p alone, q alone, both. Where the labels that
    one of them would get alone are forbidden, a hard arc keeps it from moving without the other.
    Otherwise the costs may not be submodular (neither and both together dearer than the other two):
    then those of one alone are raised until they are, which keeps both and neither exact.
    """
    old_p, old_q, new_p, new_q = grid.labels[p], grid.labels[q], proposal[p], proposal[q]
    code, weights, r_cap, tr_cap = grid.pairs[p], grid.weights, residual.r_cap, residual.tr_cap
    front, behind = code >> d & 1, code >> (4 + d) & 1
    neither = step_cost(old_p - old_q, front, behind, weights)
    p_alone = step_cost(new_p - old_q, front, behind, weights) - neither
    q_alone = step_cost(old_p - new_q, front, behind, weights) - neither
    both = step_cost(new_p - new_q, front, behind, weights) - neither
    p_never = front if new_p < old_q else behind if new_p > old_q else 0
    q_never = front if old_p < new_q else behind if old_p > new_q else 0
    if not (p_never or q_never):
        lift = max(both - p_alone - q_alone, 0) // 2
        p_alone += lift
        q_alone += lift
    share_p = p_alone
    if p_never:
        share_p = both if q_never else both - q_alone
    share_q = both - share_p
    tr_cap[p] += share_p
    tr_cap[q] += share_q
    r_cap[d, p] = weights.hard * p_never
    r_cap[d ^ 1, q] = weights.hard * q_never
    if not (p_never or q_never):
        # Shared by both arcs, or flow would cross the image just to even them out.
        half = max(q_alone - share_q, 0) // 2
        r_cap[d, p] = half
        r_cap[d ^ 1, q] = max(q_alone - share_q, 0) - half
        tr_cap[p] -= half
        tr_cap[q] += half
    elif not q_never:
        r_cap[d ^ 1, q] = max(q_alone - share_q, 0)
    note_arc(p, d, q, residual)
    note_arc(q, d ^ 1, p, residual)


@step
def any_change(labels, new_labels):
    """Return whether a label of a run changes, or one beside it; both from :func:`.arcs.around`."""
    label, left, right, above, below = labels
    new, new_left, new_right, new_above, new_below = new_labels
    found = np.int32(0)
    for i in range(len(label)):
        found = np.int32(found | (label[i] ^ new[i]) | (left[i] ^ new_left[i]))
        found = np.int32(found | (right[i] ^ new_right[i]) | (above[i] ^ new_above[i]))
        found = np.int32(found | (below[i] ^ new_below[i]))
    return found != np.int32(0)


@step
def start_fusion(label, new, unary, tr_cap):
    """Set ``tr_cap`` of a run to the cost of leaving 0, or less that of coming to it."""
    for i in range(len(tr_cap)):
        tr_cap[i] = unary[i] * np.int32(np.int32(new[i] > 0) - np.int32(label[i] > 0))


@step
def fuse_plain(old, new, d, half, pairs, r_cap, arcs, tr_cap):
    """Arcs and costs of a run from its pairs in direction d, but for the ordered ones.

    :func:`fuse_pair` without order, where everything is a multiple of half the smoothness.

    Args:
        old: labels of the run and of its neighbours in direction d.
        new: the same of the proposal.
        d: direction.
        half: of the smoothness.
        pairs: of the run.
        r_cap: output, of the arcs from direction d; arcs, tr_cap: changed in place.
    """
    label, other = old
    new, other_new = new
    half = np.int32(half)
    ordered, opens = np.uint8(17 << d), np.uint8(17 << d if half > 0 else 0)
    for i in range(len(arcs)):
        plain = np.int32(np.uint8(pairs[i] & ordered) == np.uint8(0))
        alone, other_alone = np.int32(new[i] != other[i]), np.int32(label[i] != other_new[i])
        both, neither = np.int32(new[i] != other_new[i]), np.int32(label[i] != other[i])
        cost = np.int32(plain * np.int32(alone - other_alone + both - neither))
        tr_cap[i] += np.int32(half * cost)
        slack = np.int32(plain * np.int32(alone + other_alone - both - neither))
        slack = max(slack, np.int32(0))
        r_cap[i] = np.int32(half * slack)
        arcs[i] |= np.uint8(slack > np.int32(0)) * opens


@step
def mark_ordered(pairs, marks):
    """Mark pixels with an order between them and the one to the right or below."""
    for i in range(len(marks)):
        marks[i] = pairs[i] & (17 << 1 | 17 << 3)


@kernel
def initialise_fusion(grid, proposal, residual, places):
    """Arcs and costs of a fusion (:func:`occ_order.crf.moves.fusion_problem`), without flow.

    Args:
        grid: the CRF.
        proposal: int32, flat with pads, which cost nothing.
        residual: output.
        places: memory for all pixels.
    """
    height, width = grid.unary.shape
    labels, pairs, stride, marks = grid.labels, grid.pairs, grid.stride, grid.marks
    r_cap, arcs, tr_cap = residual
    half = grid.weights.smoothness // 2
    count = 0
    for y in range(height):
        row = (y + 1) * stride + 1
        fill(arcs[row : row + width], 0)
        for x in range(0, width, WIDE_BLOCK):
            start, end = row + x, row + min(x + WIDE_BLOCK, width)
            old = around(labels, start, end, stride)
            new = around(proposal, start, end, stride)
            if not any_change(old, new):
                fill(tr_cap[start:end], 0)
                continue
            here, bits, costs = pairs[start:end], arcs[start:end], tr_cap[start:end]
            start_fusion(old.here, new.here, grid.unary[y, x : x + WIDE_BLOCK], costs)
            for d in range(4):
                sides = (old.here, old[d + 1]), (new.here, new[d + 1])
                fuse_plain(*sides, d, half, here, r_cap[d, start:end], bits, costs)
            mark_ordered(here, marks[: end - start])
            count = list_marks(marks[: end - start], grid.words, start, places, count)
    for k in range(count):
        p = places[k]
        for d, offset in ((1, 1), (3, stride)):
            q = beside(p, offset)
            changes = labels[p] != proposal[p] or labels[q] != proposal[q]
            if changes and pairs[p] & (17 << d):
                fuse_pair(p, q, d, grid, proposal, residual)


@inlined
def pixel_change(p, grid, proposal):
    """Change of energy by p, which takes the proposal, and its pairs; those inside once only."""
    labels, pairs, weights, stride = grid.labels, grid.pairs, grid.weights, grid.stride
    y = p // stride - 1
    x = p - (y + 1) * stride - 1
    old, new = labels[p], proposal[y, x]
    change = grid.unary[y, x] * ((new > 0) - (old > 0))
    for d, offset in enumerate(directions(stride)):
        q = beside(p, offset)
        other = labels[q]
        if moves(grid.node[q]):
            if not d & 1:
                continue  # counted from the other end
            other = proposal[y + (d == 3), x + (d == 1)]
        front, behind = pairs[p] >> d & 1, pairs[p] >> (4 + d) & 1
        change += step_cost(new - other, front, behind, weights)
        change -= step_cost(old - labels[q], front, behind, weights)
    return change


@kernel
def fusion_change(grid, proposal):
    """Exact change of energy if all that moves takes ``proposal`` int32 (H, W)."""
    node = grid.node
    change = 0
    for start in range(0, node.size, BLOCK):
        end = min(start + BLOCK, node.size)
        if not any_moves(node[start:end]):
            continue
        for p in range(start, end):
            if moves(node[p]):
                change += pixel_change(p, grid, proposal)
    return change


@step
def take(node, proposal, labels):
    """Give what moves of this run the label of the proposal."""
    for i in range(len(node)):
        labels[i] = proposal[i] if moves(node[i]) else labels[i]


@kernel
def take_proposal(grid, proposal, labels):
    """Give all that moves the label of ``proposal`` int32 (H, W); ``labels``: flat with pads."""
    height, width = proposal.shape
    for y in range(height):
        row = (y + 1) * grid.stride + 1
        take(grid.node[row : row + width], proposal[y], labels[row : row + width])
