"""Maximum flow on the implicit grid (layout: :mod:`.arcs`).

The algorithm of Boykov and Kolmogorov (PAMI 2004), with its three stages but only the sink tree:

1. Growth (:func:`grow_level`): breadth-first, one level at a time, from the *roots*: the pixels
   with a demand (excess < 0, an arc to the sink). The arc from a pixel to its parent has residual
   capacity. Pixels with a supply (excess > 0, an arc from the source) join the tree, too.
2. Augmentation (:func:`drain`): once per level, the excess of all supplies in the tree is pushed
   towards the roots, from the highest level down, as in Goldberg et al., "Faster and more dynamic
   maximum flow by incremental breadth-first search" (ESA 2015). Flow of paths that join is pushed
   on as one amount; what exceeds a residual capacity remains as excess of that pixel.
3. Adoption (:func:`adopt`): a pixel whose arc to its parent is saturated is an *orphan*. It takes
   another parent among its neighbours, or its subtree is re-rooted at a descendant that has such a
   neighbour (:func:`turn`). Otherwise it is *lost* and its children become orphans. Lost pixels
   join the tree again by one breadth-first search for all of them (:func:`relabel`).

Arrays, besides those in :mod:`.arcs`; pixels are flat indices:

* ``heads[level]``: int32, first pixel of a linked list of pixels at that level, < 0 if empty;
  ``chain[p]``: int32, next pixel in the list of p. Outside lists, ``chain[p]`` may hold a negative
  stamp, see :func:`is_rooted`.
* ``lost``: uint32, first the ``pending[LOST]`` lost pixels. The memory behind them, or the second
  half, is used as the queue of a search.
* ``waiting``: uint32, the ``pending[WAITING]`` pixels with excess still to be pushed.
* ``pending``: int64, the scalars that kernels share, see the indices below.
* ``arrays``: the tuple (inc, arcs, excess, node, chain, heads, lost, waiting).

``way`` is FORWARD for this search. REVERSE swaps source and sink and the direction of every arc:
the tree grows from the supplies, and the sign of ``excess`` is exchanged (``sign``).
"""

from __future__ import annotations

import numpy as np

from occ_order.crf._kernels.arcs import (
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
from occ_order.crf._kernels.compile import inlined, kernel, step

QUEUED = 8  # mask of a node's first queue bit
LEVEL = 5  # shift of a node's level
# Indices into ``pending``: number of entries in ``lost`` and in ``waiting``; whether a hard arc has
# overflowed; number of pixels lost so far; roots that still have a demand; last stamp (negative).
LOST, WAITING, OVERFLOW, ALL_LOST, NUM_ROOTS, STAMP = 0, 1, 2, 3, 4, 5
# Most pixels that :func:`turn` visits for one orphan; for all orphans of a level, on average.
TURN_PIXELS, TURN_SHARE = 16, 4
HOPELESS = 256  # consecutive orphans without a parent after which :func:`adopt` stops searching
NONE = 1 << 30  # above every level
# Values of ``way``: tree of the sink, tree of the source. p can become the parent of its neighbour
# in direction d if bit ``d + way`` of ``arcs[p]`` is set, and its child if bit ``4 + d - way`` is.
FORWARD, REVERSE = 0, 4
DONE, OVERFLOWN, GIVEN_UP = 0, 1, 2  # results of :func:`maximise_flow`


@inlined
def level_of(word):
    """Return the level stored in a node."""
    return np.int64(word >> np.uint32(LEVEL))


@inlined
def in_tree(word):
    """Return whether a node is in the tree: a root or a pixel with a parent."""
    return 0 < word & CODE < ORPHAN


@inlined
def cut_off(v, node):
    """Make v an orphan."""
    node[v] = node[v] & ~CODE | ORPHAN


@inlined
def append(v, which, places, pending):
    """Append v to ``places`` (``lost`` or ``waiting``); ``which`` is LOST or WAITING."""
    places[pending[which]] = v
    pending[which] += 1


@inlined
def list_by_level(v, node, chain, heads):
    """Prepend v to the list of its level; returns the level."""
    level = level_of(node[v])
    chain[v] = heads[level]
    heads[level] = v
    return level


@inlined
def push(p, d, q, amount, inc, arcs):
    """Push ``amount`` from q, p's neighbour in direction d, to p; returns what is left of the arc.

    The residual capacity of the arc falls, that of the opposite arc grows by ``amount``.
    """
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
    """Append v to the queue of ``level`` unless it is in it already; returns the new length.

    One bit for even and one for odd levels suffices: only two adjacent levels are queued at a time.
    """
    bit = QUEUED << (level & 1)
    if node[v] & bit:
        return count
    node[v] |= bit
    queue[count] = v
    return count + 1


@inlined
def is_rooted(u, stamp, offsets, node, chain):
    """Return whether the parents of u lead to a root, not to an orphan.

    If so, the whole path is stamped in ``chain``, so that each pixel is followed once per stamp.
    """
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
    """Move the tree pixels in ``waiting`` to the lists of their levels; orphans stay in it.

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
    """Augment: push the excess of the listed pixels to their parents, highest level first.

    A pixel whose arc to its parent is saturated becomes an orphan, and so does a root without
    demand. Either is appended to ``waiting`` if it has excess left.

    Args:
        level: highest level with a list. A parent's level can be larger, see :func:`turn`.
        limit: residual capacity that a hard arc must keep; below it, ``pending[OVERFLOW]`` is set.
        cut: output, the new orphans.

    Returns:
        The number of new orphans.
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
    """Re-root the subtree of orphan v at a descendant x that has a neighbour y in the tree.

    The descendants are searched breadth-first, ``most`` pixels at most. y becomes the parent of x
    and the parent pointers between x and v are reversed. Levels are not updated: they are only
    estimates of the distance to the root, and must not grow for pixels scanned already.

    Returns:
        Whether such a pair x, y was found; the number of pixels visited.
    """
    first = start = len(lost) // 2  # the queue of the search
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
    """Remove the orphans listed from ``level`` on, with their whole subtrees, from the tree.

    Pixels with a neighbour in the tree are appended to ``lost``; :func:`relabel` reaches the others
    from these.
    """
    start = end = len(lost) // 2  # the queue of the search
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
    """Adopt: find a new parent for each orphan in ``cut``, or append it to ``lost``.

    An orphan with a neighbour whose path leads to a root takes it as its parent and keeps its
    subtree. Else :func:`turn` is tried. Else the orphan is lost and its children become orphans.
    After HOPELESS failures in a row, typical below a root without demand left, all remaining
    subtrees are removed without a search (:func:`lose_all`).

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
    """List each lost pixel with a parent in the tree by its new level; returns the lowest one.

    Pixels without one get level ``depth + 2`` (above all others) and are not listed.
    """
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
    """Return 1 + the direction of a parent for v, a tree pixel of a smaller level; 0 if none."""
    for d in range(4):
        u = beside(v, offsets[d])
        word = node[u]
        if level_of(word) < level_of(node[v]) and in_tree(word) and arcs[v] >> (4 + d - way) & 1:
            return d + 1
    return 0


@step
def relabel(depth, offsets, arrays, pending, queue, count, way):
    """Add the lost pixels to the tree again, by one breadth-first search from its border.

    Lost pixels are FREE with a level above the one they can get. Other FREE
    pixels are not entered: they have level 0, or their neighbours in the tree are still queued.
    Lost pixels farther away than level ``depth + 1`` stay outside the tree; those with excess are
    SUPPLY again and are removed from ``waiting``.

    Returns:
        The new length of ``queue``, the pixels at level ``depth + 1``.
    """
    inc, arcs, excess, node, chain, heads, lost, waiting = arrays
    num_lost = pending[LOST]
    pending[LOST] = 0
    pending[ALL_LOST] += num_lost
    bit = QUEUED << ((depth + 1) & 1)
    level = list_rim(num_lost, depth, offsets, arcs, node, chain, heads, lost, way)
    start = end = num_lost  # the queue of the search follows in ``lost``
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
            continue  # still in the queue of the next level: grow_level scans it
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
    """Augment and adopt until no pixel in the tree has excess, or no root has a demand.

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
    """Grow: add the free neighbours of the pixels at level ``depth`` to the tree.

    Neighbours with a supply are appended to ``waiting``.

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
    """Compute the maximum flow; afterwards the tree is the smallest sink side of a minimum cut.

    These are the pixels from which a demand can be reached in the residual graph.

    Args:
        roots: uint32, the roots with a neighbour that is not a root; overwritten.
        count: number of these.
        num_roots: number of all roots.
        spare: uint32, memory for a second queue.
        stride: index distance of vertical neighbours.
        limit: residual capacity that a hard arc must keep.
        arrays: (inc, arcs, excess, node, chain, heads, lost, waiting), changed in place.
        pending: see the module.
        way: FORWARD, or REVERSE: source and sink swapped; the tree is then the smallest source
            side, the pixels that can be reached from a supply.
        budget: stop once more pixels than this have been lost.

    Returns:
        DONE; OVERFLOWN, a hard arc carries more than it may: start again in 64 bits; or GIVEN_UP,
        the flow is valid but perhaps not maximal.
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
    """Change FREE to TIE in a run of nodes; returns how many."""
    count = 0
    for i in range(len(node)):
        free = node[i] & CODE == FREE
        node[i] = TIE if free else node[i]
        count += free
    return count


@step
def mark_supplied(node, west, east, north, south, arcs, marks):
    """Mark the ties of this run that have a residual arc from a neighbouring supply."""
    for i in range(len(marks)):
        bits = (west[i] & CODE == SUPPLY) | (east[i] & CODE == SUPPLY) << 1
        bits |= (north[i] & CODE == SUPPLY) << 2 | (south[i] & CODE == SUPPLY) << 3
        marks[i] = (node[i] & CODE == TIE) & (arcs[i] & bits != 0)


@inlined
def free_run(v, d, offsets, arcs, node, stack, size):
    """Set the ties reachable from v in direction d to FREE; stack their ties above and below.

    Of a run of connected ties above (or below), only the first is stacked: a scanline flood fill.

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
    """Mark TIE the pixels outside the tree that no supply reaches in the residual graph.

    Tree and ties are the largest sink side of a minimum cut: moving the ties costs nothing.

    ``marks``, ``words``: memory for a row, see :func:`.arcs.list_marks`; ``stack``: for all
    pixels.

    Returns:
        The number of ties.
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
    """Undo :func:`add_ties`: change TIE to FREE."""
    for i in range(len(node)):
        node[i] = FREE if node[i] & CODE == TIE else node[i]
