"""Maximum flow on the implicit grid (layout: :mod:`.layout`).

The algorithm of Boykov and Kolmogorov (PAMI 2004), with its three stages, but one tree at a time:

1. Growth (:func:`grow`): breadth-first from the *roots* of tree T, the pixels with an arc to the
   sink (``tr_cap`` < 0). The arc from a pixel to its parent has residual capacity. The active nodes
   are those of one level. Pixels with an arc from the source (``tr_cap`` > 0) join the tree, too:
   each is the end of an augmenting path.
2. Augmentation (:func:`augment`): once per level, the amounts of all supplies in the tree are
   pushed towards the roots, from the highest level down, as in Goldberg et al., "Faster and more
   dynamic maximum flow by incremental breadth-first search" (ESA 2015). Flow of paths that join is
   pushed on as one amount; what exceeds a residual capacity stays as supply of that pixel.
3. Adoption (:func:`adopt`): a pixel whose arc to its parent is saturated is an *orphan*. It takes
   another parent among its neighbours, or its subtree is re-rooted at a descendant that has such a
   neighbour (:func:`reroot`). Otherwise it is *lost* (Boykov and Kolmogorov: it becomes free) and
   its children become orphans. Lost pixels join the tree again by one breadth-first search for all
   of them (:func:`rejoin`).

Why only one tree: it ends as the sink side of the minimum cut, the pixels that move, and is never
grown over the background, where most supplies are. Boykov and Kolmogorov's tree S would cover that.

``way`` is FORWARD for tree T. REVERSE grows tree S of the source instead: it swaps source and sink
and the direction of every arc, and the sign of ``tr_cap`` is exchanged (``sign``).
"""

from __future__ import annotations

import numpy as np

from occ_order.crf._kernels.arcs import (
    around,
    beside,
    directions,
    list_marks,
    note_arc,
    write_nodes,
)
from occ_order.crf._kernels.compile import inlined, kernel, step
from occ_order.crf._kernels.layout import CODE, FREE, LEVEL, ORPHAN, QUEUED, ROOT, SUPPLY, TIE

# Indices into ``pending``: number of entries in ``lost`` and in ``waiting``; whether a hard arc has
# overflowed; number of pixels lost so far; roots that still have a demand; last stamp (negative).
LOST, WAITING, OVERFLOW, ALL_LOST, NUM_ROOTS, STAMP = 0, 1, 2, 3, 4, 5
# Most pixels that :func:`reroot` visits for one orphan; for all orphans of a level, on average.
REROOT_PIXELS, REROOT_SHARE = 16, 4
HOPELESS = 256  # consecutive orphans without a parent after which :func:`adopt` stops searching
NONE = 1 << 30  # above every level
# Values of ``way``: tree T of the sink, tree S of the source. p can become the parent of its
# neighbour in direction d if bit ``d + way`` of ``arcs[p]`` is set, and its child if bit
# ``4 + d - way`` is.
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
def make_orphan(v, node):
    """Cut v off from its parent, or from the terminal."""
    node[v] = node[v] & ~CODE | ORPHAN


@inlined
def lose(v, search):
    """Append v to ``lost``."""
    search.lost[search.pending[LOST]] = v
    search.pending[LOST] += 1


@inlined
def wait(v, search):
    """Append v to ``waiting``."""
    search.waiting[search.pending[WAITING]] = v
    search.pending[WAITING] += 1


@inlined
def list_by_level(v, search):
    """Prepend v to the list of its level; returns the level."""
    level = level_of(search.node[v])
    search.chain[v] = search.heads[level]
    search.heads[level] = v
    return level


@inlined
def push(p, d, q, amount, residual):
    """Push ``amount`` from q, p's neighbour in direction d, to p; returns what is left of the arc.

    The residual capacity of the arc falls, that of the opposite arc grows by ``amount``.
    """
    r_cap = residual.r_cap
    left = r_cap[d, p] - amount
    r_cap[d, p] = left
    if left == 0:
        note_arc(p, d, q, residual)
    back = r_cap[d ^ 1, q]
    r_cap[d ^ 1, q] = back + amount
    if back == 0:
        note_arc(q, d ^ 1, p, residual)
    return left


@inlined
def activate(v, level, node, active, count):
    """Append v to the active nodes of ``level`` unless it is among them; returns their new number.

    One bit for even and one for odd levels suffices: only two adjacent levels are queued at a time.
    """
    bit = QUEUED << (level & 1)
    if node[v] & bit:
        return count
    node[v] |= bit
    active[count] = v
    return count + 1


@inlined
def is_rooted(u, search):
    """Return whether u's origin is a root: whether its parents lead to one, not to an orphan.

    If so, the whole path is stamped in ``chain``, so that each pixel is followed once per stamp:
    without this, long paths would be walked again for every orphan beside them.
    """
    node, chain, stamp = search.node, search.chain, search.pending[STAMP]
    offsets = directions(search.stride)
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
def list_waiting(search):
    """Move the tree pixels in ``waiting`` to the lists of their levels; orphans stay in it.

    Returns:
        The highest of those levels, or -1.
    """
    pending, waiting = search.pending, search.waiting
    highest = -1
    num_waiting = pending[WAITING]
    pending[WAITING] = 0
    for i in range(num_waiting):
        v = waiting[i]
        if in_tree(search.node[v]):
            highest = max(highest, list_by_level(v, search))
        else:
            wait(v, search)
    return highest


@step
def augment(level, search, orphans):
    """Augment: push the supplies of the listed pixels to their parents, highest level first.

    A pixel whose arc to its parent is saturated becomes an orphan, and so does a root without
    demand. Either is appended to ``waiting`` if it has a supply left. Where a hard arc keeps less
    than ``limit``, ``pending[OVERFLOW]`` is set.

    Args:
        level: highest level with a list. A parent's level can be larger, see :func:`reroot`.
        search: the search.
        orphans: output, the new orphans.

    Returns:
        The number of new orphans.
    """
    residual, node, chain, heads = search.residual, search.node, search.chain, search.heads
    r_cap, tr_cap = residual.r_cap, residual.tr_cap
    pending, limit, way = search.pending, search.limit, search.way
    offsets = directions(search.stride)
    sign = 1 - (way >> 1)
    num_orphans = 0
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
        amount = sign * tr_cap[v]
        if way == FORWARD:
            amount = min(amount, r_cap[e ^ 1, u])
            left = push(u, e ^ 1, v, amount, residual)
        else:
            amount = min(amount, r_cap[e, v])
            left = push(v, e, u, amount, residual)
        # A hard arc that falls below the limit carries more than the type of the flow is made for.
        overflow |= left < limit <= left + amount
        before = sign * tr_cap[u]
        rest = tr_cap[v] - sign * amount
        tr_cap[v] = rest
        tr_cap[u] += sign * amount
        if left == 0:
            make_orphan(v, node)
            orphans[num_orphans] = v
            num_orphans += 1
            if rest != 0:
                wait(v, search)
        code = node[u] & CODE
        if code == ROOT:
            if before + amount >= 0:
                pending[NUM_ROOTS] -= 1
                make_orphan(u, node)
                orphans[num_orphans] = u
                num_orphans += 1
                if before + amount > 0:
                    wait(u, search)
        elif before == 0:  # else it is listed or waiting already
            if code == ORPHAN:
                wait(u, search)
            else:
                level = max(level, list_by_level(u, search))
    pending[OVERFLOW] |= overflow
    return num_orphans


@inlined  # called for every orphan: handing over the record takes as long as the search
def reroot(v, most, search):
    """Re-root the subtree of orphan v at a descendant x that has a neighbour y in the tree.

    The descendants are searched breadth-first, ``most`` pixels at most. y becomes the parent of x
    and the parent pointers between x and v are reversed. Levels are not updated: they are only
    estimates of the distance to the root, and must not grow for pixels scanned already.

    Returns:
        Whether such a pair x, y was found; the number of pixels visited.
    """
    node, lost, way = search.node, search.lost, search.way
    arcs, offsets = search.residual.arcs, directions(search.stride)
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
            elif in_tree(node[y]) and is_rooted(y, search):
                towards = d  # x's new parent; then that of each pixel on the way back to v
                while True:
                    before = (node[x] & CODE) - 1
                    node[x] = node[x] & ~CODE | towards + 1
                    if x == v:
                        return True, end - first
                    x = beside(x, offsets[before])
                    towards = before ^ 1
    return False, end - first


@step
def lose_subtrees(level, depth, search):
    """Remove the orphans listed from ``level`` on, with their whole subtrees, from the tree.

    Pixels with a neighbour in the tree are appended to ``lost``; :func:`rejoin` reaches the others
    from these.
    """
    node, chain, heads, lost = search.node, search.chain, search.heads, search.lost
    offsets = directions(search.stride)
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
                make_orphan(c, node)
                lost[end] = c
                end += 1
            elif in_tree(word):
                beside_tree = True
        if beside_tree:
            lose(v, search)
        else:
            search.pending[ALL_LOST] += 1


@inlined
def adopt(orphans, depth, search, next_active, count):
    """Adopt: find a new parent for each orphan, or append it to ``lost``.

    An orphan with a neighbour whose path leads to a root takes it as its parent and keeps its
    subtree. Else :func:`reroot` is tried. Else the orphan is lost and its children become orphans.
    After HOPELESS failures in a row, typical below a root without demand left, all remaining
    subtrees are removed without a search (:func:`lose_subtrees`).

    Orphans are taken by level, the lowest first: the parents that are nearer to the root have been
    settled then, and an orphan seldom takes one that is lost itself a moment later.

    Returns:
        The new number of active nodes of level ``depth + 1``.
    """
    node, chain, heads, way = search.node, search.chain, search.heads, search.way
    arcs, offsets = search.residual.arcs, directions(search.stride)
    level = NONE
    misses = 0
    effort = REROOT_SHARE * len(orphans)
    for v in orphans:
        level = min(level, list_by_level(v, search))
    search.pending[STAMP] -= 1  # paths that were rooted may lead to an orphan now
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
                and is_rooted(u, search)
            ):
                best = level_of(word)
                parent = d + 1
        if parent:
            misses = 0
            node[v] = (best + 1) << LEVEL | node[v] & (3 * QUEUED) | parent
            if best == depth:
                count = activate(v, depth + 1, node, next_active, count)
            continue
        if effort > 0:
            found, seen = reroot(v, min(effort, REROOT_PIXELS), search)
            effort -= seen
            if found:
                misses = 0
                continue
        misses += 1
        lose(v, search)
        for d in range(4):
            c = beside(v, offsets[d])
            if node[c] & CODE == (d ^ 1) + 1:
                make_orphan(c, node)
                level = min(level, list_by_level(c, search))
    if level <= depth + 1:
        lose_subtrees(level, depth, search)
    return count


@inlined
def list_rim(num_lost, depth, search):
    """List each lost pixel with a parent in the tree by its new level; returns the lowest one.

    Pixels without one get level ``depth + 2`` (above all others) and are not listed.
    """
    node, chain, heads, way = search.node, search.chain, search.heads, search.way
    arcs, offsets = search.residual.arcs, directions(search.stride)
    lowest = depth + 2
    for i in range(num_lost):
        v = search.lost[i]
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
def find_parent(v, search):
    """Return 1 + the direction of a parent for v, a tree pixel of a smaller level; 0 if none."""
    node, arcs, way = search.node, search.residual.arcs, search.way
    offsets = directions(search.stride)
    for d in range(4):
        u = beside(v, offsets[d])
        word = node[u]
        if level_of(word) < level_of(node[v]) and in_tree(word) and arcs[v] >> (4 + d - way) & 1:
            return d + 1
    return 0


@step
def rejoin(depth, search, next_active, count):
    """Add the lost pixels to the tree again, by one breadth-first search from its border.

    Lost pixels are FREE with a level above the one they can get. Other FREE
    pixels are not entered: they have level 0, or their neighbours in the tree are still queued.
    Lost pixels farther away than level ``depth + 1`` stay outside the tree; those with a supply are
    SUPPLY again and are removed from ``waiting``.

    Returns:
        The new number of active nodes of level ``depth + 1``.
    """
    node, chain, heads, lost = search.node, search.chain, search.heads, search.lost
    pending, waiting, way = search.pending, search.waiting, search.way
    arcs, offsets = search.residual.arcs, directions(search.stride)
    num_lost = pending[LOST]
    pending[LOST] = 0
    pending[ALL_LOST] += num_lost
    bit = QUEUED << ((depth + 1) & 1)
    level = list_rim(num_lost, depth, search)
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
            node[v] = node[v] & ~CODE | find_parent(v, search)
        if level == depth + 1:
            count = activate(v, level, node, next_active, count)
        if node[v] & bit:
            continue  # among the active nodes of the next level: grow scans it
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
            wait(v, search)
        else:
            node[v] |= SUPPLY
    return count


@step
def augment_and_adopt(depth, search, next_active, count):
    """Augment and adopt until no pixel in the tree has a supply, or no root has a demand.

    Returns:
        The new number of active nodes of level ``depth + 1``.
    """
    pending = search.pending
    while pending[WAITING] or pending[LOST]:
        level = list_waiting(search)
        if level < 0:
            count = rejoin(depth, search, next_active, count)
            continue
        orphans = search.lost[pending[LOST] :]
        num_orphans = augment(level, search, orphans)
        if pending[NUM_ROOTS] == 0:
            return 0
        count = adopt(orphans[:num_orphans], depth, search, next_active, count)
    return count


@step
def grow(active, depth, search, next_active):
    """Grow: add the free neighbours of the active nodes, at level ``depth``, to the tree.

    Neighbours with a supply are appended to ``waiting``.

    Returns:
        The number of active nodes of level ``depth + 1``, in ``next_active``.
    """
    node, arcs, way = search.node, search.residual.arcs, search.way
    offsets = directions(search.stride)
    bit = QUEUED << (depth & 1)
    count = 0
    for p in active:
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
                    count = activate(q, depth + 1, node, next_active, count)
                    if code == SUPPLY:
                        wait(q, search)
    return count


@kernel
def maximise_flow(search, active, count, num_roots, next_active, budget):
    """Compute the maximum flow; afterwards the tree is the smallest sink side of a minimum cut.

    These are the pixels from which a demand can be reached in the residual graph.

    Args:
        search: changed in place. With REVERSE, source and sink are swapped; the tree is then the
            smallest source side, the pixels that can be reached from a supply.
        active: uint32, first the roots with a neighbour that is not a root; overwritten.
        count: number of these.
        num_roots: number of all roots.
        next_active: uint32, memory for the active nodes of another level.
        budget: stop once more pixels than this have been lost.

    Returns:
        DONE; OVERFLOWN, a hard arc carries more than it may: start again in 64 bits; or GIVEN_UP,
        the flow is valid but perhaps not maximal.
    """
    tr_cap, node, heads, pending = search.residual.tr_cap, search.node, search.heads, search.pending
    sign = 1 - (search.way >> 1)
    kept = 0
    for i in range(count):
        p = active[i]
        if sign * tr_cap[p] < 0:
            active[kept] = p
            kept += 1
        else:
            node[p] = FREE
    pending[LOST] = pending[WAITING] = pending[OVERFLOW] = pending[ALL_LOST] = 0
    pending[NUM_ROOTS] = num_roots
    count, depth = kept, 0
    heads[0] = -1
    heads[1] = -1
    while count:
        heads[depth + 2] = -1
        count = grow(active[:count], depth, search, next_active)
        if pending[WAITING]:
            count = augment_and_adopt(depth, search, next_active, count)
        if pending[OVERFLOW]:
            return OVERFLOWN
        if pending[NUM_ROOTS] == 0:
            write_nodes(tr_cap, node, sign)
            return DONE
        if pending[ALL_LOST] > budget:
            return GIVEN_UP
        active, next_active = next_active, active
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
def mark_supplied(nodes, arcs, marks):
    """Mark the ties of this run that have a residual arc from a neighbouring supply."""
    node, west, east, north, south = nodes
    for i in range(len(marks)):
        bits = (west[i] & CODE == SUPPLY) | (east[i] & CODE == SUPPLY) << 1
        bits |= (north[i] & CODE == SUPPLY) << 2 | (south[i] & CODE == SUPPLY) << 3
        marks[i] = (node[i] & CODE == TIE) & (arcs[i] & bits != 0)


@inlined
def free_run(v, d, grid, arcs, stack, size):
    """Set the ties reachable from v in direction d to FREE; stack their ties above and below.

    Of a run of connected ties above (or below), only the first is stacked: a scanline flood fill.

    Returns:
        The new size of the stack, and the number of pixels freed or stacked.
    """
    node, offsets = grid.node, directions(grid.stride)
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
def add_ties(grid, arcs, stack):
    """Mark TIE the pixels outside the tree that no supply reaches in the residual graph.

    Tree and ties are the largest sink side of a minimum cut: moving the ties costs nothing. The
    nodes are those after a search; ``stack``: memory for all pixels.

    Returns:
        The number of ties.
    """
    height, width = grid.unary.shape
    stride, node, marks = grid.stride, grid.node, grid.marks[: grid.unary.shape[1]]
    size = num_ties = 0
    for y in range(height):
        row = (y + 1) * stride + 1
        end = row + width
        found = mark_ties(node[row:end])
        if found:
            mark_supplied(around(node, row, end, stride), arcs[row:end], marks)
            size = list_marks(marks, grid.words, row, stack, size)
        num_ties += found
    num_ties -= size
    for k in range(size):
        node[stack[k]] = FREE
    while size:
        size -= 1
        v = stack[size]
        size, left = free_run(v, 0, grid, arcs, stack, size)
        size, right = free_run(v, 1, grid, arcs, stack, size)
        num_ties -= left + right
    return num_ties


@kernel
def drop_ties(node):
    """Undo :func:`add_ties`: change TIE to FREE."""
    for i in range(len(node)):
        node[i] = FREE if node[i] & CODE == TIE else node[i]
