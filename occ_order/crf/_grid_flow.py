"""Maximum flow on the implicit grid (layout: :mod:`._grid_arcs`).

:func:`maximise_flow` grows one forest from the demands, level by level, like Boykov and
Kolmogorov's algorithm (PAMI 2004) with one tree instead of two. Supplies that it meets become part
of it, and once a level all that they have is sent down the trees, as in Goldberg et al., "Faster
and more dynamic maximum flow by incremental breadth-first search" (ESA 2015): flow that meets goes
on together, and what an arc does not take stays where it is. Pixels that are cut off
seek another parent at once; whole regions that find none are placed by one breadth-first search.

* ``chain[p]``: next in a list of pixels of one level that starts at ``heads[level]``; or a negative
  stamp, see :func:`is_rooted`.
* ``lost``: orphans without a parent, and behind them a queue; ``waiting``: pixels of the tree that
  have something to send. ``pending``: how many of either, whether an arc overflowed, the last
  stamp, and how many pixels have been lost so far.
"""

from __future__ import annotations

from occ_order.crf._compile import kernel
from occ_order.crf._grid_arcs import (
    BLOCK,
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
LOST, WAITING, OVERFLOW, STAMP, ALL_LOST = 0, 1, 2, 3, 4  # what ``pending`` holds
NONE = 1 << 30  # above every level
FORWARD, REVERSE = 0, 4  # which way a search goes, as the shift of the bits in ``arcs``
DONE, OVERFLOWN, GIVEN_UP = 0, 1, 2


@inlined
def in_tree(word):
    """Is this the node of a pixel that hangs on a root?"""
    return 0 < word & CODE < ORPHAN


@inlined
def cut_off(v, node):
    """Cut v from its parent."""
    node[v] = node[v] & ~CODE | ORPHAN


@inlined
def append(v, which, places, pending):
    """Append v to ``lost`` or ``waiting``."""
    places[pending[which]] = v
    pending[which] += 1


@inlined
def list_by_level(v, node, chain, heads):
    """List v under its level, which is returned."""
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


@step
def drain(offsets, limit, arrays, pending, cut, way):
    """Send all that ``waiting`` has down the trees, level by level, as far as it goes.

    A pixel whose arc to its parent is used up is cut off, with what it still has; so is a root
    whose demand is met.

    Returns:
        The number of pixels that were cut off, in ``cut``.
    """
    inc, arcs, excess, node, chain, heads, lost, waiting = arrays
    sign = 1 - (way >> 1)
    level = num_cut = 0
    overflow = False
    for i in range(pending[WAITING]):
        level = max(level, list_by_level(waiting[i], node, chain, heads))
    pending[WAITING] = 0
    while level >= 0:
        v = heads[level]
        if v < 0:
            level -= 1
            continue
        heads[level] = chain[v]
        e = (node[v] & CODE) - 1
        u = v + offsets[e]
        amount = sign * excess[v]
        if way == FORWARD:
            amount = min(amount, inc[e ^ 1, u])
            left = push(u, e ^ 1, v, amount, inc, arcs)
        else:
            amount = min(amount, inc[e, v])
            left = push(v, e, u, amount, inc, arcs)
        overflow |= left < limit <= left + amount
        before = sign * excess[u]
        excess[v] -= sign * amount
        excess[u] += sign * amount
        if left == 0:
            cut_off(v, node)
            cut[num_cut] = v
            num_cut += 1
        code = node[u] & CODE
        if code == ROOT:
            if before + amount >= 0:
                cut_off(u, node)
                cut[num_cut] = u
                num_cut += 1
        elif before == 0 and code != ORPHAN:
            level = max(level, list_by_level(u, node, chain, heads))
    pending[OVERFLOW] |= overflow
    return num_cut


@inlined
def adopt(cut, num_cut, depth, offsets, arrays, pending, queue, count, way):
    """Give all of ``cut`` a new parent, or append it to ``lost``.

    An orphan that finds a neighbour whose path leads to a root keeps its own subtree as it is,
    otherwise its children become orphans too. Those that have something to send wait for it.

    Returns:
        The new length of ``queue``, the pixels at level ``depth + 1``.
    """
    inc, arcs, excess, node, chain, heads, lost, waiting = arrays
    level = NONE
    for i in range(num_cut):
        level = min(level, list_by_level(cut[i], node, chain, heads))
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
            if excess[v] != 0:
                append(v, WAITING, waiting, pending)
            continue
        append(v, LOST, lost, pending)
        for d in range(4):
            c = v + offsets[d]
            if node[c] & CODE == (d ^ 1) + 1:
                cut_off(c, node)
                level = min(level, list_by_level(c, node, chain, heads))
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
def relabel(depth, offsets, arrays, pending, queue, count, way):
    """Place all of ``lost`` by one breadth-first search from the tree pixels around them.

    Those too far away for level ``depth + 1`` leave the tree. Of the others, those that have
    something to send wait for it.

    Returns:
        The new length of ``queue``, the pixels at level ``depth + 1``.
    """
    inc, arcs, excess, node, chain, heads, lost, waiting = arrays
    num_lost = pending[LOST]
    pending[LOST] = 0
    pending[ALL_LOST] += num_lost
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
        v = lost[i]
        if node[v] & CODE == ORPHAN:
            node[v] = node[v] & (3 * QUEUED) | (SUPPLY if excess[v] != 0 else FREE)
        elif excess[v] != 0:
            append(v, WAITING, waiting, pending)
    return count


@step
def use_supplies(depth, offsets, limit, arrays, pending, queue, count, way):
    """Send what ``waiting`` has to the roots, until it is used up or finds no way any more.

    Returns:
        The new length of ``queue``, the pixels at level ``depth + 1``.
    """
    lost = arrays[6]
    while pending[WAITING] or pending[LOST]:
        while pending[WAITING]:
            cut = lost[pending[LOST] :]
            num_cut = drain(offsets, limit, arrays, pending, cut, way)
            count = adopt(cut, num_cut, depth, offsets, arrays, pending, queue, count, way)
        if pending[LOST]:
            count = relabel(depth, offsets, arrays, pending, queue, count, way)
    return count


@step
def grow_level(here, num_here, queue, depth, offsets, arrays, pending, way):
    """Scan all pixels at level ``depth``: take in their free neighbours, and supplies to wait.

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
            continue
        for d in range(4):
            if arcs[p] >> (d + way) & 1:
                q = p + offsets[d]
                word = node[q]
                code = word & CODE
                if code in (FREE, SUPPLY):
                    node[q] = (depth + 1) << LEVEL | word & (3 * QUEUED) | ((d ^ 1) + 1)
                    count = enqueue(q, depth + 1, node, queue, count)
                    if code == SUPPLY:
                        append(q, WAITING, waiting, pending)
    return count


@kernel
def maximise_flow(roots, count, spare, stride, limit, arrays, pending, way, budget):
    """Maximum flow; afterwards the tree holds exactly what still reaches a demand.

    Args:
        way: FORWARD, or REVERSE: the same with supplies and demands, and the ends of every arc,
            changed over; the tree then holds what a supply still reaches.
        budget: give up once so many pixels have been lost.

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
    pending[LOST] = pending[WAITING] = pending[OVERFLOW] = pending[ALL_LOST] = 0
    here, there, count, depth = roots, spare, kept, 0
    heads[0] = -1
    heads[1] = -1
    while count:
        heads[depth + 2] = -1
        count = grow_level(here, count, there, depth, offsets, arrays, pending, way)
        if pending[WAITING]:
            count = use_supplies(depth, offsets, limit, arrays, pending, there, count, way)
        if pending[OVERFLOW]:
            return OVERFLOWN
        if pending[ALL_LOST] > budget:
            return GIVEN_UP
        here, there = there, here
        depth += 1
    return DONE


@step
def any_free(node):
    """Is a pixel of this stretch FREE?"""
    found = False
    for i in range(len(node)):
        found |= node[i] & CODE == FREE
    return found


@kernel
def add_ties(shape, stride, arcs, node, stack):
    """Mark TIE what no supply reaches, besides the tree: the rest of the largest cut."""
    height, width = shape
    offsets = (-1, 1, -stride, stride)
    size = 0
    for y in range(height):
        row = (y + 1) * stride + 1
        for start in range(row, row + width, BLOCK):
            end = min(start + BLOCK, row + width)
            if not any_free(node[start:end]):
                continue
            for p in range(start, end):
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
