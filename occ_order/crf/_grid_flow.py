"""Maximum flow on the implicit grid (layout: :mod:`._grid_arcs`).

:func:`maximise_flow` grows one forest from the demands, level by level, like Boykov and
Kolmogorov's algorithm (PAMI 2004) with one tree instead of two. Supplies that it meets become part
of it, and once a level all that they have is sent down the trees, as in Goldberg et al., "Faster
and more dynamic maximum flow by incremental breadth-first search" (ESA 2015): flow that meets goes
on together, and what an arc does not take stays where it is. Pixels that are cut off seek
another parent at once, beside themselves or beside the first few pixels below them; whole regions
that find none are placed by one breadth-first search.

* ``chain[p]``: next in a list of pixels of one level that starts at ``heads[level]``; or a negative
  stamp, see :func:`is_rooted`.
* ``lost``: orphans without a parent, and behind them a queue; ``waiting``: pixels of the tree, or
  orphans, that have something to send. ``pending``: how many of either, whether an arc overflowed,
  how many pixels have been lost so far, how many roots are left, and the last stamp.
"""

from __future__ import annotations

import numpy as np

from occ_order.crf._compile import inlined, kernel, step
from occ_order.crf._grid_arcs import (
    CODE,
    FREE,
    ORPHAN,
    ROOT,
    SUPPLY,
    TIE,
    around,
    beside,
    list_marks,
    note_arc,
    write_nodes,
)

QUEUED = 8  # mask of a node's first queue bit
LEVEL = 5  # shift of a node's level
LOST, WAITING, OVERFLOW, ALL_LOST, NUM_ROOTS, STAMP = 0, 1, 2, 3, 4, 5  # what ``pending`` holds
TURN_PIXELS, TURN_SHARE = 16, 4  # how far :func:`turn` looks: from one pixel; from all, on average
HOPELESS = 256  # after so many failures in a row, orphans are not asked any more, see :func:`adopt`
NONE = 1 << 30  # above every level
FORWARD, REVERSE = 0, 4  # which way a search goes, as the shift of the bits in ``arcs``
DONE, OVERFLOWN, GIVEN_UP = 0, 1, 2


@inlined
def level_of(word):
    """The level in a node."""
    return np.int64(word >> np.uint32(LEVEL))


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
    level = level_of(node[v])
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
        v = beside(v, offsets[(node[v] & CODE) - 1])
    if not in_tree(node[v]):
        return False
    w = u
    while w != v:
        chain[w] = stamp
        w = beside(w, offsets[(node[w] & CODE) - 1])
    chain[v] = stamp
    return True


@inlined
def list_waiting(node, chain, heads, waiting, pending):
    """List by level what ``waiting`` has in the tree; the rest stays there.

    Returns:
        The highest of those levels, or -1.
    """
    highest = -1
    num_waiting = pending[WAITING]
    pending[WAITING] = 0
    for i in range(num_waiting):
        v = waiting[i]
        if in_tree(node[v]):
            highest = max(highest, list_by_level(v, node, chain, heads))
        else:
            append(v, WAITING, waiting, pending)
    return highest


@step
def drain(level, offsets, limit, arrays, pending, cut, way):
    """Send all that is listed by level, up to ``level``, down the trees, as far as it goes.

    A pixel whose arc to its parent is used up is cut off, and waits with what it still has; so does
    a root whose demand is met.

    Returns:
        The number of pixels that were cut off, in ``cut``.
    """
    inc, arcs, excess, node, chain, heads, lost, waiting = arrays
    sign = 1 - (way >> 1)
    num_cut = 0
    overflow = False
    while level >= 0:
        first = heads[level]
        if first < 0:
            level -= 1
            continue
        v = np.uint32(first)
        heads[level] = chain[v]
        e = (node[v] & CODE) - 1
        u = beside(v, offsets[e])
        amount = sign * excess[v]
        if way == FORWARD:
            amount = min(amount, inc[e ^ 1, u])
            left = push(u, e ^ 1, v, amount, inc, arcs)
        else:
            amount = min(amount, inc[e, v])
            left = push(v, e, u, amount, inc, arcs)
        overflow |= left < limit <= left + amount
        before = sign * excess[u]
        rest = excess[v] - sign * amount
        excess[v] = rest
        excess[u] += sign * amount
        if left == 0:
            cut_off(v, node)
            cut[num_cut] = v
            num_cut += 1
            if rest != 0:
                append(v, WAITING, waiting, pending)
        code = node[u] & CODE
        if code == ROOT:
            if before + amount >= 0:
                pending[NUM_ROOTS] -= 1
                cut_off(u, node)
                cut[num_cut] = u
                num_cut += 1
                if before + amount > 0:
                    append(u, WAITING, waiting, pending)
        elif before == 0:
            if code == ORPHAN:
                append(u, WAITING, waiting, pending)
            else:
                level = max(level, list_by_level(u, node, chain, heads))
    pending[OVERFLOW] |= overflow
    return num_cut


@step
def turn(v, most, stamp, offsets, arcs, node, chain, lost, way):
    """Hang v and all below it on a tree beside one of the first ``most`` pixels below v.

    The path from there to v is turned round. Levels stay as they are: they are estimates, and those
    of pixels that have been scanned must not grow.

    Returns:
        Whether there is such a tree; how many pixels were looked at.
    """
    first = start = len(lost) // 2  # the search's own queue
    end = first + 1
    lost[first] = v
    while start < end < first + most:
        x = lost[start]
        start += 1
        for d in range(4):
            if not arcs[x] >> (4 + d - way) & 1:
                continue
            y = beside(x, offsets[d])
            if node[y] & CODE == (d ^ 1) + 1:
                lost[end] = y
                end += 1
            elif in_tree(node[y]) and is_rooted(y, stamp, offsets, node, chain):
                towards = d
                while True:
                    before = (node[x] & CODE) - 1
                    node[x] = node[x] & ~CODE | towards + 1
                    if x == v:
                        return True, end - first
                    x = beside(x, offsets[before])
                    towards = before ^ 1
    return False, end - first


@step
def lose_all(level, depth, offsets, node, chain, heads, lost, pending):
    """Take all that is listed from ``level`` on, and all that hangs on it, out of the tree.

    What may have a neighbour in another tree is appended to ``lost``; all others can only come back
    through these (see :func:`relabel`).
    """
    start = end = len(lost) // 2  # the search's own queue
    while level <= depth + 1:
        v = heads[level]
        while v >= 0:
            lost[end] = v
            end += 1
            v = chain[v]
        heads[level] = -1
        level += 1
    far = (depth + 2) << LEVEL | FREE
    while start < end:
        v = lost[start]
        start += 1
        node[v] = far | node[v] & (3 * QUEUED)
        beside_tree = False
        for d in range(4):
            c = beside(v, offsets[d])
            word = node[c]
            if word & CODE == (d ^ 1) + 1:
                cut_off(c, node)
                lost[end] = c
                end += 1
            elif in_tree(word):
                beside_tree = True
        if beside_tree:
            append(v, LOST, lost, pending)
        else:
            pending[ALL_LOST] += 1


@inlined
def adopt(cut, num_cut, depth, offsets, arrays, pending, queue, count, way):
    """Give all of ``cut`` a new parent, or append it to ``lost``.

    An orphan that finds a neighbour whose path leads to a root keeps its own subtree as it is, and
    so does one whose path can turn round; otherwise its children become orphans too. Where next to
    none finds anything, like below an exhausted root, they are lost without being asked.

    Returns:
        The new length of ``queue``, the pixels at level ``depth + 1``.
    """
    inc, arcs, excess, node, chain, heads, lost, waiting = arrays
    level = NONE
    misses = 0
    effort = TURN_SHARE * num_cut
    for i in range(num_cut):
        level = min(level, list_by_level(cut[i], node, chain, heads))
    pending[STAMP] -= 1
    while level <= depth + 1 and misses < HOPELESS:
        first = heads[level]
        if first < 0:
            level += 1
            continue
        v = np.uint32(first)
        heads[level] = chain[v]
        best = depth + 1
        parent = 0
        for d in range(4):
            u = beside(v, offsets[d])
            word = node[u]
            if (
                level_of(word) < best
                and in_tree(word)
                and arcs[v] >> (4 + d - way) & 1
                and word & CODE != (d ^ 1) + 1
                and is_rooted(u, pending[STAMP], offsets, node, chain)
            ):
                best = level_of(word)
                parent = d + 1
        if parent:
            misses = 0
            node[v] = (best + 1) << LEVEL | node[v] & (3 * QUEUED) | parent
            if best == depth:
                count = enqueue(v, depth + 1, node, queue, count)
            continue
        if effort > 0:
            most = min(effort, TURN_PIXELS)
            turned, seen = turn(v, most, pending[STAMP], offsets, arcs, node, chain, lost, way)
            effort -= seen
            if turned:
                misses = 0
                continue
        misses += 1
        append(v, LOST, lost, pending)
        for d in range(4):
            c = beside(v, offsets[d])
            if node[c] & CODE == (d ^ 1) + 1:
                cut_off(c, node)
                level = min(level, list_by_level(c, node, chain, heads))
    if level <= depth + 1:
        lose_all(level, depth, offsets, node, chain, heads, lost, pending)
    return count


@inlined
def list_rim(num_lost, depth, offsets, arcs, node, chain, heads, lost, way):
    """List each lost pixel beside the tree by the level it would have there; none: too far."""
    lowest = depth + 2
    for i in range(num_lost):
        v = lost[i]
        level = depth + 1
        for d in range(4):
            u = beside(v, offsets[d])
            word = node[u]
            if level_of(word) < level and in_tree(word) and arcs[v] >> (4 + d - way) & 1:
                level = level_of(word)
        level += 1
        node[v] = level << LEVEL | node[v] & (3 * QUEUED) | FREE
        if level <= depth + 1:
            chain[v] = heads[level]
            heads[level] = v
            lowest = min(lowest, level)
    return lowest


@inlined
def find_parent(v, offsets, arcs, node, way):
    """Code of the direction of a tree pixel of a smaller level that v can send to."""
    for d in range(4):
        u = beside(v, offsets[d])
        word = node[u]
        if level_of(word) < level_of(node[v]) and in_tree(word) and arcs[v] >> (4 + d - way) & 1:
            return d + 1
    return 0


@step
def relabel(depth, offsets, arrays, pending, queue, count, way):
    """Place what was lost by one breadth-first search from the tree pixels around it.

    Lost pixels are FREE, with a level above the one that they can have; other FREE pixels beside
    a tree have level 0, or the pixel of the tree is still to be scanned. What is too far away for
    level ``depth + 1`` stays out of the tree, and waits no longer.

    Returns:
        The new length of ``queue``, the pixels at level ``depth + 1``.
    """
    inc, arcs, excess, node, chain, heads, lost, waiting = arrays
    num_lost = pending[LOST]
    pending[LOST] = 0
    pending[ALL_LOST] += num_lost
    bit = QUEUED << ((depth + 1) & 1)
    level = list_rim(num_lost, depth, offsets, arcs, node, chain, heads, lost, way)
    start = end = num_lost  # the search's own queue follows in ``lost``
    while level <= depth + 1:
        if start < end and level_of(node[lost[start]]) == level:
            v = lost[start]
            start += 1
        else:
            first = heads[level]
            if first < 0:
                level += 1
                continue
            v = np.uint32(first)
            heads[level] = chain[v]
            if node[v] & CODE != FREE:
                continue
            node[v] = node[v] & ~CODE | find_parent(v, offsets, arcs, node, way)
        if level == depth + 1:
            count = enqueue(v, level, node, queue, count)
        if node[v] & bit:
            continue  # to be scanned
        for d in range(4):
            w = beside(v, offsets[d])
            word = node[w]
            if word & CODE == FREE and level_of(word) > level + 1 and arcs[v] >> (d + way) & 1:
                node[w] = (level + 1) << LEVEL | word & (3 * QUEUED) | ((d ^ 1) + 1)
                lost[end] = w
                end += 1
    num_waiting = pending[WAITING]
    pending[WAITING] = 0
    for i in range(num_waiting):
        v = waiting[i]
        if in_tree(node[v]):
            append(v, WAITING, waiting, pending)
        else:
            node[v] |= SUPPLY
    return count


@step
def use_supplies(depth, offsets, limit, arrays, pending, queue, count, way):
    """Send what ``waiting`` has to the roots, until it is used up or finds no way any more.

    Returns:
        The new length of ``queue``, the pixels at level ``depth + 1``.
    """
    inc, arcs, excess, node, chain, heads, lost, waiting = arrays
    while pending[WAITING] or pending[LOST]:
        level = list_waiting(node, chain, heads, waiting, pending)
        if level < 0:
            count = relabel(depth, offsets, arrays, pending, queue, count, way)
            continue
        cut = lost[pending[LOST] :]
        num_cut = drain(level, offsets, limit, arrays, pending, cut, way)
        if pending[NUM_ROOTS] == 0:
            return 0
        count = adopt(cut, num_cut, depth, offsets, arrays, pending, queue, count, way)
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
        if level_of(word) > depth or not in_tree(word):
            continue
        for d in range(4):
            if arcs[p] >> (d + way) & 1:
                q = beside(p, offsets[d])
                word = node[q]
                code = word & CODE
                if code in (FREE, SUPPLY):
                    node[q] = (depth + 1) << LEVEL | word & (3 * QUEUED) | ((d ^ 1) + 1)
                    count = enqueue(q, depth + 1, node, queue, count)
                    if code == SUPPLY:
                        append(q, WAITING, waiting, pending)
    return count


@kernel
def maximise_flow(roots, count, num_roots, spare, stride, limit, arrays, pending, way, budget):
    """Maximum flow; afterwards the tree holds exactly what still reaches a demand.

    Args:
        roots: those with a neighbour that is none, ``count`` of them; num_roots: of all.
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
    pending[NUM_ROOTS] = num_roots
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
        if pending[NUM_ROOTS] == 0:
            write_nodes(excess, node, sign)
            return DONE
        if pending[ALL_LOST] > budget:
            return GIVEN_UP
        here, there = there, here
        depth += 1
    return DONE


@step
def mark_ties(node):
    """Make what is FREE in a stretch of nodes TIE; returns how many."""
    count = 0
    for i in range(len(node)):
        free = node[i] & CODE == FREE
        node[i] = TIE if free else node[i]
        count += free
    return count


@step
def mark_supplied(node, west, east, north, south, arcs, marks):
    """Mark the ties of this stretch that flow can reach from a supply beside them."""
    for i in range(len(marks)):
        bits = (west[i] & CODE == SUPPLY) | (east[i] & CODE == SUPPLY) << 1
        bits |= (north[i] & CODE == SUPPLY) << 2 | (south[i] & CODE == SUPPLY) << 3
        marks[i] = (node[i] & CODE == TIE) & (arcs[i] & bits != 0)


@inlined
def free_run(v, d, offsets, arcs, node, stack, size):
    """Free the ties that flow from v reaches in direction d; stack those above and below of them.

    Of a stretch of ties above (or below) that reach each other, only the first.

    Returns:
        The new size of the stack, and the number of pixels freed or stacked.
    """
    found = stretches = 0
    while True:
        for e in (2, 3):
            q = beside(v, offsets[e])
            if not (arcs[v] >> (4 + e) & 1 and node[q] & CODE == TIE):
                stretches &= ~(1 << e)
                continue
            if not (stretches >> e & 1 and arcs[beside(q, -offsets[d])] >> (4 + d) & 1):
                node[q] = FREE
                stack[size] = q
                size += 1
                found += 1
            stretches |= 1 << e
        q = beside(v, offsets[d])
        if not (arcs[v] >> (4 + d) & 1 and node[q] & CODE == TIE):
            return size, found
        v = q
        node[v] = FREE
        found += 1


@kernel
def add_ties(shape, stride, arcs, node, marks, words, stack):
    """Mark TIE what no supply reaches, besides the tree: the rest of the largest cut.

    ``marks``, ``words``: room for a row, see :func:`._grid_arcs.list_marks`.

    Returns:
        The number of these pixels.
    """
    height, width = shape
    offsets = (-1, 1, -stride, stride)
    size = num_ties = 0
    for y in range(height):
        row = (y + 1) * stride + 1
        end = row + width
        found = mark_ties(node[row:end])
        if found:
            mark_supplied(*around(node, row, end, stride), arcs[row:end], marks[:width])
            size = list_marks(marks[:width], words, row, stack, size)
        num_ties += found
    num_ties -= size
    for k in range(size):
        node[stack[k]] = FREE
    while size:
        size -= 1
        v = stack[size]
        size, left = free_run(v, 0, offsets, arcs, node, stack, size)
        size, right = free_run(v, 1, offsets, arcs, node, stack, size)
        num_ties -= left + right
    return num_ties


@kernel
def drop_ties(node):
    """Undo :func:`add_ties`."""
    for i in range(len(node)):
        node[i] = FREE if node[i] & CODE == TIE else node[i]
