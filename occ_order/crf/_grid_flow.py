"""Maximum flow on the implicit grid (layout: :mod:`._grid_arcs`).

:func:`maximise_flow` grows one forest from the demands, level by level, like Boykov and
Kolmogorov's algorithm (PAMI 2004) with one tree instead of two. What is cut off seeks another
parent at once; whole regions that find none are placed by one breadth-first search at the end of
the level, as in incremental breadth-first search (Goldberg et al., ESA 2011).

* ``chain[p]``: next in a list of pixels of one level that starts at ``heads[level]``; or a negative
  stamp, see :func:`is_rooted`.
* ``lost``: orphans without a parent, and behind them a queue; ``waiting``: pixels among them that
  have yet to be scanned; ``pending``: how many, whether an arc overflowed, the last stamp.
"""

from __future__ import annotations

from occ_order.crf._compile import kernel
from occ_order.crf._grid_arcs import (
    CODE,
    FREE,
    ORPHAN,
    ROOT,
    SUPPLY,
    TIE,
    inlined,
    note_arc,
    step,
)

QUEUED = 8  # mask of a node's first queue bit
LEVEL = 5  # shift of a node's level
LOST, WAITING, OVERFLOW, STAMP = 0, 1, 2, 3  # what ``pending`` holds
NONE = 1 << 30  # above every level
FORWARD, REVERSE = 0, 4  # which way a search goes, as the shift of the bits in ``arcs``
DONE, OVERFLOWN, GIVEN_UP = 0, 1, 2


@inlined
def in_tree(word):
    """Is this the node of a pixel that hangs on a root?"""
    return 0 < word & CODE < ORPHAN


@inlined
def orphan(v, node, chain, heads):
    """Cut v from its parent and list it by its level, which is returned."""
    node[v] = node[v] & ~CODE | ORPHAN
    level = node[v] >> LEVEL
    chain[v] = heads[level]
    heads[level] = v
    return level


@inlined
def push(p, d, q, amount, inc, arcs):
    """Send ``amount`` from q, p's neighbour in direction d, to p; returns what the arc has left."""
    left = inc[d, p] - amount
    inc[d, p] = left
    if left == 0:
        note_arc(p, d, q, inc, arcs)
    back = inc[d ^ 1, q]
    inc[d ^ 1, q] = back + amount
    if back == 0:
        note_arc(q, d ^ 1, p, inc, arcs)
    return left


@inlined
def augment(p, d, offsets, limit, inc, arcs, excess, node, chain, heads, pending, way):
    """Send flow from the supply beside p (direction d) along p's tree path to its root.

    Pixels that are cut off become orphans.

    Returns:
        The smallest level of an orphan, ``NONE`` without any.
    """
    sign = 1 - (way >> 1)
    q = p + offsets[d]
    amount = min(sign * excess[q], inc[d, p] if way == FORWARD else inc[d ^ 1, q])
    v = p
    while node[v] & CODE != ROOT:
        e = (node[v] & CODE) - 1
        u = v + offsets[e]
        amount = min(amount, inc[e ^ 1, u] if way == FORWARD else inc[e, v])
        v = u
    amount = min(amount, -sign * excess[v])
    if way == FORWARD:
        left = push(p, d, q, amount, inc, arcs)
    else:
        left = push(q, d ^ 1, p, amount, inc, arcs)
    overflow = left < limit <= left + amount
    excess[q] -= sign * amount
    if excess[q] == 0:
        node[q] &= ~CODE
    lowest = NONE
    v = p
    while node[v] & CODE != ROOT:
        e = (node[v] & CODE) - 1
        u = v + offsets[e]
        if way == FORWARD:
            left = push(u, e ^ 1, v, amount, inc, arcs)
        else:
            left = push(v, e, u, amount, inc, arcs)
        overflow |= left < limit <= left + amount
        if left == 0:
            lowest = min(lowest, orphan(v, node, chain, heads))
        v = u
    excess[v] += sign * amount
    if excess[v] == 0:
        lowest = orphan(v, node, chain, heads)
    pending[OVERFLOW] |= overflow
    return lowest


@inlined
def enqueue(v, level, node, queue, count):
    """Append v unless it stands in the queue of ``level`` already; returns the new length."""
    bit = QUEUED << (level & 1)
    if node[v] & bit:
        return count
    node[v] |= bit
    queue[count] = v
    return count + 1


@inlined
def is_rooted(u, stamp, offsets, node, chain):
    """Does u's tree path reach a root? If so, all of it is stamped, to be asked once a search."""
    v = u
    while in_tree(node[v]) and node[v] & CODE != ROOT and chain[v] != stamp:
        v += offsets[(node[v] & CODE) - 1]
    if node[v] & CODE == ORPHAN:
        return False
    while u != v:
        chain[u] = stamp
        u += offsets[(node[u] & CODE) - 1]
    chain[v] = stamp
    return True


@inlined
def adopt(level, depth, offsets, trees, queue, count, way):
    """Give every orphan a new parent, or append it to ``lost``.

    An orphan that finds a neighbour whose path leads to a root keeps its own subtree as it is,
    otherwise its children become orphans too.

    Returns:
        The new length of ``queue``, the pixels at level ``depth + 1``.
    """
    arcs, node, chain, heads, pending, lost = trees
    pending[STAMP] -= 1
    while level <= depth + 1:
        v = heads[level]
        if v < 0:
            level += 1
            continue
        heads[level] = chain[v]
        best = depth + 1
        parent = 0
        for d in range(4):
            u = v + offsets[d]
            word = node[u]
            if (
                word >> LEVEL < best
                and in_tree(word)
                and arcs[v] >> (4 + d - way) & 1
                and word & CODE != (d ^ 1) + 1
                and is_rooted(u, pending[STAMP], offsets, node, chain)
            ):
                best = word >> LEVEL
                parent = d + 1
        if parent:
            node[v] = (best + 1) << LEVEL | node[v] & (3 * QUEUED) | parent
            if best == depth:
                count = enqueue(v, depth + 1, node, queue, count)
            continue
        lost[pending[LOST]] = v
        pending[LOST] += 1
        for d in range(4):
            c = v + offsets[d]
            if node[c] & CODE == (d ^ 1) + 1:
                level = min(level, orphan(c, node, chain, heads))
    return count


@inlined
def list_rim(num_lost, depth, offsets, arcs, node, chain, heads, lost, way):
    """List each lost pixel beside the tree by the level it would have there; none: too far."""
    lowest = depth + 2
    for i in range(num_lost):
        v = lost[i]
        level = depth + 1
        for d in range(4):
            u = v + offsets[d]
            word = node[u]
            if word >> LEVEL < level and in_tree(word) and arcs[v] >> (4 + d - way) & 1:
                level = word >> LEVEL
        level += 1
        node[v] = level << LEVEL | node[v] & (3 * QUEUED) | ORPHAN
        if level <= depth + 1:
            chain[v] = heads[level]
            heads[level] = v
            lowest = min(lowest, level)
    return lowest


@inlined
def find_parent(v, offsets, arcs, node, way):
    """Code of the direction of a tree pixel of a smaller level that v can send to."""
    for d in range(4):
        u = v + offsets[d]
        word = node[u]
        if word >> LEVEL < node[v] >> LEVEL and in_tree(word) and arcs[v] >> (4 + d - way) & 1:
            return d + 1
    return 0


@step
def relabel(num_lost, depth, offsets, arcs, node, chain, heads, lost, queue, count, way):
    """Place all of ``lost`` by one breadth-first search from the tree pixels around them.

    Those too far away for level ``depth + 1`` become free.

    Returns:
        The new length of ``queue``, the pixels at level ``depth + 1``.
    """
    level = list_rim(num_lost, depth, offsets, arcs, node, chain, heads, lost, way)
    start = end = num_lost  # the search's own queue follows in ``lost``
    while level <= depth + 1:
        if start < end and node[lost[start]] >> LEVEL == level:
            v = lost[start]
            start += 1
        else:
            v = heads[level]
            if v < 0:
                level += 1
                continue
            heads[level] = chain[v]
            if node[v] & CODE != ORPHAN:
                continue
            node[v] = node[v] & ~CODE | find_parent(v, offsets, arcs, node, way)
        if level == depth + 1:
            count = enqueue(v, level, node, queue, count)
            continue
        for d in range(4):
            w = v + offsets[d]
            word = node[w]
            if word & CODE == ORPHAN and word >> LEVEL > level + 1 and arcs[v] >> (d + way) & 1:
                node[w] = (level + 1) << LEVEL | word & (3 * QUEUED) | ((d ^ 1) + 1)
                lost[end] = w
                end += 1
    for i in range(num_lost):
        if node[lost[i]] & CODE == ORPHAN:
            node[lost[i]] &= 3 * QUEUED
    return count


@step
def use_supplies(p, depth, offsets, limit, arrays, pending, queue, count, way):
    """Use up the supplies around p while it stays in the tree.

    Returns:
        The new length of ``queue``.
    """
    inc, arcs, excess, node, chain, heads, lost, waiting = arrays
    for d in range(4):
        q = p + offsets[d]
        while arcs[p] >> (d + way) & 1:
            code = node[q] & CODE
            if code != FREE and code != SUPPLY:
                break
            if node[p] & CODE == ORPHAN:
                waiting[pending[WAITING]] = p
                pending[WAITING] += 1
                return count
            if node[p] >> LEVEL > depth:
                return count
            if code == FREE:
                node[q] = (depth + 1) << LEVEL | node[q] & (3 * QUEUED) | ((d ^ 1) + 1)
                count = enqueue(q, depth + 1, node, queue, count)
                continue
            level = augment(
                p, d, offsets, limit, inc, arcs, excess, node, chain, heads, pending, way
            )
            if level < NONE:
                trees = (arcs, node, chain, heads, pending, lost)
                count = adopt(level, depth, offsets, trees, queue, count, way)
    return count


@step
def grow_level(here, num_here, queue, depth, offsets, limit, arrays, pending, way):
    """Scan all pixels at level ``depth``: take in free neighbours, use up supplies.

    Returns:
        The number of pixels at level ``depth + 1``, in ``queue``.
    """
    inc, arcs, excess, node, chain, heads, lost, waiting = arrays
    bit = QUEUED << (depth & 1)
    count = 0
    for i in range(num_here):
        p = here[i]
        word = node[p] & ~bit
        node[p] = word
        if word >> LEVEL > depth or not in_tree(word):
            if word & CODE == ORPHAN and word >> LEVEL <= depth:
                waiting[pending[WAITING]] = p
                pending[WAITING] += 1
            continue
        supply = False
        for d in range(4):
            if arcs[p] >> (d + way) & 1:
                q = p + offsets[d]
                word = node[q]
                if word & CODE == FREE:
                    node[q] = (depth + 1) << LEVEL | word & (3 * QUEUED) | ((d ^ 1) + 1)
                    count = enqueue(q, depth + 1, node, queue, count)
                elif word & CODE == SUPPLY:
                    supply = True
        if supply:
            count = use_supplies(p, depth, offsets, limit, arrays, pending, queue, count, way)
    return count


@step
def serve_waiting(depth, offsets, limit, arrays, pending, queue, count, way):
    """Place lost pixels and look again at those that waited for it, until none is left.

    Returns:
        The new length of ``queue``.
    """
    inc, arcs, excess, node, chain, heads, lost, waiting = arrays
    while pending[LOST]:
        num_lost, num_waiting = pending[LOST], pending[WAITING]
        pending[LOST] = pending[WAITING] = 0
        count = relabel(num_lost, depth, offsets, arcs, node, chain, heads, lost, queue, count, way)
        for i in range(num_waiting):
            p = waiting[i]
            if node[p] & CODE == ORPHAN:
                waiting[pending[WAITING]] = p
                pending[WAITING] += 1
            elif node[p] >> LEVEL <= depth and node[p] & CODE != FREE:
                count = use_supplies(p, depth, offsets, limit, arrays, pending, queue, count, way)
    return count


@kernel
def maximise_flow(roots, count, spare, stride, limit, arrays, pending, way, budget):
    """Maximum flow; afterwards the tree holds exactly what still reaches a demand.

    Args:
        way: FORWARD, or REVERSE: the same with supplies and demands, and the ends of every arc,
            changed over; the tree then holds what a supply still reaches.
        budget: give up once so many pixels have been cut off from their trees.

    Returns:
        DONE, OVERFLOWN, or GIVEN_UP, where the flow is correct but perhaps not the maximum.
    """
    excess, node, heads = arrays[2], arrays[3], arrays[5]
    offsets = (-1, 1, -stride, stride)
    sign = 1 - (way >> 1)
    kept = 0
    for i in range(count):
        p = roots[i]
        if sign * excess[p] < 0:
            roots[kept] = p
            kept += 1
        else:
            node[p] = FREE
    pending[LOST] = pending[WAITING] = pending[OVERFLOW] = 0
    here, there, count, depth = roots, spare, kept, 0
    heads[0] = -1
    heads[1] = -1
    while count:
        heads[depth + 2] = -1
        count = grow_level(here, count, there, depth, offsets, limit, arrays, pending, way)
        budget -= pending[LOST]
        if pending[LOST]:
            count = serve_waiting(depth, offsets, limit, arrays, pending, there, count, way)
        if pending[OVERFLOW]:
            return OVERFLOWN
        if budget < 0:
            return GIVEN_UP
        here, there = there, here
        depth += 1
    return DONE


@kernel
def add_ties(shape, stride, arcs, node, stack):
    """Mark TIE what no supply reaches, besides the tree: the rest of the largest cut."""
    height, width = shape
    offsets = (-1, 1, -stride, stride)
    size = 0
    for y in range(height):
        row = (y + 1) * stride + 1
        for p in range(row, row + width):
            if node[p] & CODE != FREE:
                continue
            node[p] = TIE
            for d in range(4):
                if arcs[p] >> d & 1 and node[p + offsets[d]] & CODE == SUPPLY:
                    node[p] = FREE
                    stack[size] = p
                    size += 1
                    break
    while size:
        size -= 1
        v = stack[size]
        for d in range(4):
            q = v + offsets[d]
            if arcs[v] >> (4 + d) & 1 and node[q] & CODE == TIE:
                node[q] = FREE
                stack[size] = q
                size += 1
