"""Fusion of two labellings on the implicit grid (layout: :mod:`._grid_arcs`)."""

from __future__ import annotations

from occ_order.crf._compile import inlined, kernel, step
from occ_order.crf._grid_arcs import (
    BLOCK,
    any_moves,
    beside,
    changes,
    differ,
    moves,
    note_arc,
)


@inlined
def step_cost(step, front, behind, weights):
    """Energy of a pair; ``front``, ``behind``: p occludes q, q occludes p."""
    if step == 0:
        return 0
    return weights[0] - weights[1] * (front if step > 0 else behind)


@inlined
def fuse_pair(p, q, d, old_p, old_q, new_p, new_q, code, weights, inc, arcs, excess):
    """Arcs and costs of one pair of the fusion; q is p's neighbour in direction d."""
    if old_p == new_p and old_q == new_q:
        return
    front, behind = code >> d & 1, code >> (4 + d) & 1
    if old_p == old_q and new_p == new_q and not (front or behind):
        inc[d, p] = inc[d ^ 1, q] = weights[0]
        if weights[0]:
            arcs[p] |= 17 << d
            arcs[q] |= 17 << (d ^ 1)
        return
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
    excess[p] += share_p
    excess[q] += share_q
    inc[d, p] = weights[2] * p_never
    inc[d ^ 1, q] = weights[2] * q_never
    if not (p_never or q_never):
        # Shared by both arcs, or flow would cross the image just to even them out.
        half = max(q_alone - share_q, 0) // 2
        inc[d, p] = half
        inc[d ^ 1, q] = max(q_alone - share_q, 0) - half
        excess[p] -= half
        excess[q] += half
    elif not q_never:
        inc[d ^ 1, q] = max(q_alone - share_q, 0)
    note_arc(p, d, q, inc, arcs)
    note_arc(q, d ^ 1, p, inc, arcs)


@step
def fuse_stretch(y, start, end, unary, stride, labels, proposal, pairs, weights, inc, arcs, excess):
    """:func:`initialise_fusion` for part of row y: its pixels, their pairs right and below."""
    height, width = unary.shape
    row = (y + 1) * stride + 1
    state = (weights, inc, arcs, excess)
    for x in range(start, end):
        p = beside(row, x)
        code = pairs[p]
        old, new = labels[p], proposal[y, x]
        if old != new:
            excess[p] += unary[y, x] * ((new > 0) - (old > 0))
        if x + 1 < width:
            q = beside(p, 1)
            fuse_pair(p, q, 1, old, labels[q], new, proposal[y, x + 1], code, *state)
        if y + 1 < height:
            q = beside(p, stride)
            fuse_pair(p, q, 3, old, labels[q], new, proposal[y + 1, x], code, *state)


@step
def is_uniform(y, start, end, stride, labels, proposal, pairs):
    """Do these pixels of row y, and those their pairs end at, share both labels, without order?"""
    height, width = proposal.shape
    if y + 1 == height or end == width:
        return False
    row = (y + 1) * stride + 1
    here, ours = labels[row + start : row + end], proposal[y, start:end]
    found = 0
    for i in range(row + start, row + end):
        found |= pairs[i]
    return not (
        found
        or differ(here, labels[row + start + 1 : row + end + 1])
        or differ(here, labels[row + stride + start : row + stride + end])
        or differ(ours, proposal[y, start + 1 : end + 1])
        or differ(ours, proposal[y + 1, start:end])
    )


@step
def set_bits(arcs, bits):
    """Set ``bits`` at a stretch of pixels."""
    for i in range(len(arcs)):
        arcs[i] |= bits


@step
def fuse_uniform(y, start, end, unary, stride, labels, proposal, weights, inc, arcs, excess):
    """:func:`fuse_stretch` where :func:`is_uniform`: smoothness both ways, and nothing else."""
    first = (y + 1) * stride + 1 + start
    change = (proposal[y, start] > 0) - (labels[first] > 0)
    for x in range(start, end):
        excess[first + x - start] += unary[y, x] * change
    for d, offset in ((1, 1), (3, stride)):
        last = first + end - start
        inc[d, first:last] = weights[0]
        inc[d ^ 1, first + offset : last + offset] = weights[0]
        if weights[0]:
            set_bits(arcs[first:last], 17 << d)
            set_bits(arcs[first + offset : last + offset], 17 << (d ^ 1))


@kernel
def initialise_fusion(unary, stride, labels, proposal, pairs, weights, inc, arcs, excess):
    """Arcs and costs of a fusion (:func:`occ_order.crf.moves.fusion_problem`), without flow."""
    height, width = unary.shape
    state = (unary, stride, labels, proposal, pairs, weights, inc, arcs, excess)
    arcs[:] = 0
    excess[:] = 0
    for y in range(height):
        for start in range(0, width, BLOCK):
            end = min(start + BLOCK, width)
            if not changes(y, start, end, stride, labels, proposal):
                continue
            if is_uniform(y, start, end, stride, labels, proposal, pairs):
                fuse_uniform(
                    y, start, end, unary, stride, labels, proposal, weights, inc, arcs, excess
                )
            else:
                fuse_stretch(y, start, end, *state)


@inlined
def pixel_change(p, unary, stride, labels, proposal, pairs, weights, node):
    """Change of energy by p, which takes the proposal, and its pairs; those inside once only."""
    height, width = unary.shape
    y = p // stride - 1
    x = p - (y + 1) * stride - 1
    old, new = labels[p], proposal[y, x]
    change = unary[y, x] * ((new > 0) - (old > 0))
    for d in range(4):
        y_q, x_q = y + (d == 3) - (d == 2), x + (d == 1) - (d == 0)
        if y_q < 0 or x_q < 0 or y_q == height or x_q == width:
            continue
        q = (y_q + 1) * stride + x_q + 1
        other = labels[q]
        if moves(node[q]):
            if not d & 1:
                continue  # counted from the other end
            other = proposal[y_q, x_q]
        front, behind = pairs[p] >> d & 1, pairs[p] >> (4 + d) & 1
        change += step_cost(new - other, front, behind, weights)
        change -= step_cost(old - labels[q], front, behind, weights)
    return change


@kernel
def fusion_change(unary, stride, labels, proposal, pairs, weights, node):
    """Exact change of energy if all that moves takes the proposal."""
    change = 0
    for start in range(0, node.size, BLOCK):
        end = min(start + BLOCK, node.size)
        if not any_moves(node[start:end]):
            continue
        for p in range(start, end):
            if moves(node[p]):
                change += pixel_change(p, unary, stride, labels, proposal, pairs, weights, node)
    return change


@kernel
def take_proposal(stride, labels, proposal, node):
    """Give all that moves the label of ``proposal``; both int32 (H, W)."""
    height, width = labels.shape
    for y in range(height):
        row = (y + 1) * stride + 1
        for x in range(width):
            if moves(node[row + x]):
                labels[y, x] = proposal[y, x]
