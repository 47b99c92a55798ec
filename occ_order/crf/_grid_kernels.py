"""Kernels of :mod:`occ_order.crf.grid`.

Everything works on one flat grid with pad pixels around it, ``p = (y + 1) * stride + x + 1``, so
that no kernel asks whether a neighbour exists. Directions are left, right, top, bottom = 0..3, and
``d ^ 1`` is the opposite of d.

* ``inc[4 p + d]``: what the arc from p's neighbour in direction d to p can still carry.
* ``excess[p]``: > 0 what p still supplies (the cost of raising it), < 0 what it still demands.
* ``pairs[p]``: bit d: p occludes that neighbour; bit 4 + d: that neighbour occludes p.
* ``node[p]``: bits 0-2 FREE, ROOT, ORPHAN, TIE or 1 + the direction of p's parent in the sink tree;
  bits 3-4 queued for an even / odd level; from bit 5 the level, about the distance to the root.
* ``chain[p]``: next in a list of pixels of one level that starts at ``heads[level]``; or a negative
  stamp, see :func:`is_rooted`.
* ``lost``: orphans without a parent, and behind them a queue; ``waiting``: pixels among them that
  have yet to be scanned; ``pending``: how many, whether an arc overflowed, the last stamp.

Maximum flow (:func:`maximise_flow`) grows one forest from the demands, level by level, like
Boykov and Kolmogorov's algorithm (PAMI 2004) with one tree instead of two. What is cut off seeks
another parent at once; whole regions that find none are placed by one breadth-first search at the
end of the level, as in incremental breadth-first search (Goldberg et al., ESA 2011).

Sending flow rewrites the energy function without changing its values, so the labels may change
under a flow: arcs that stay the same keep what they carry, others give it back.
"""

from __future__ import annotations

from occ_order.crf import _compile
from occ_order.crf._compile import kernel

FREE, ROOT, ORPHAN, TIE = 0, 5, 6, 7
CODE, QUEUED = 7, 8  # masks of a node's code and of its first queue bit
LEVEL = 5  # shift of a node's level
LOST, WAITING, OVERFLOW, STAMP = 0, 1, 2, 3  # what ``pending`` holds
NONE = 1 << 30  # above every level
STRIP = 32  # columns swept together: their arcs and amounts fit a second-level cache

# Called from kernels only, so that the wrappers for Python need not be compiled: helpers of hot
# loops, where the call would cost more than the work, and steps.
inlined = step = kernel
if _compile.COMPILED:
    options = {"nogil": True, "no_cpython_wrapper": True, "no_cfunc_wrapper": True}
    inlined = _compile.njit(forceinline=True, **options)
    step = _compile.njit(**options)


@kernel
def pack_pairs(occludes, words, pairs, stride):
    """Fill ``pairs`` from ``occludes`` uint8 (4, H, W); ``words``: the same memory as uint64."""
    height, width = occludes.shape[1:]
    plane = height * width
    flat = occludes.reshape(4 * plane)
    offsets = (-1, 1, -stride, stride)
    pairs[:] = 0
    i = 0
    while i < 4 * plane:
        if i & 7 == 0 and i >> 3 < words.size and words[i >> 3] == 0:
            i += 8
            continue
        if flat[i]:
            d = i // plane
            y = (i - d * plane) // width
            p = (y + 1) * stride + 1 + (i - d * plane) - y * width
            pairs[p] |= 1 << d
            pairs[p + offsets[d]] |= 16 << (d ^ 1)
        i += 1


@inlined
def capacity(step, behind, weights):
    """Cost of raising p but not q; ``step`` = x_p - x_q, ``behind``: q occludes p."""
    if step == 0:
        return weights[0] + weights[2] * behind
    return weights[1] * behind if step == -1 else 0


@inlined
def pair_cost(step, code, d, weights, modular):
    """What p's pair with its neighbour d adds to the cost of raising p; ``code`` = pairs[p]."""
    if step == 0:
        return weights[1] * ((code >> (4 + d) & 1) - (code >> d & 1))
    if modular and (step == 1 or step == -1):
        return weights[0] * step
    return 0


@inlined
def same_around(p, stride, labels):
    """Does p have the label of all four neighbours?"""
    label = labels[p]
    return (
        labels[p - 1] == label
        and labels[p + 1] == label
        and labels[p - stride] == label
        and labels[p + stride] == label
    )


@kernel
def initialise(unary, stride, labels, flat, pairs, weights, modular, inc, excess):
    """Arcs and costs of a jump from ``labels``, without any flow; ``flat``: all are 0."""
    height, width = unary.shape
    offsets = (-1, 1, -stride, stride)
    for y in range(height):
        row = (y + 1) * stride + 1
        for i in range(4 * row, 4 * (row + width)):
            inc[i] = weights[0]
        for x in range(width):
            excess[row + x] = unary[y, x]
        inside = 0 < y < height - 1
        for x in range(width):
            p = row + x
            code = pairs[p]
            if code == 0 and (
                (flat and inside and 0 < x < width - 1)
                or (labels[p] == 0 and same_around(p, stride, labels))
            ):
                continue
            cost = excess[p] if labels[p] == 0 else 0
            for d in range(4):
                step = labels[p] - labels[p + offsets[d]]
                cost += pair_cost(step, code, d, weights, modular)
                inc[4 * p + d] = capacity(step, code >> (4 + d) & 1, weights)
            excess[p] = cost


@kernel
def find_roots(shape, stride, excess, node, queue):
    """Make every pixel with a demand a root.

    Returns:
        The number of those with a neighbour that has none, in ``queue``: the others cannot grow.
    """
    height, width = shape
    count = 0
    for y in range(height):
        row = (y + 1) * stride + 1
        for p in range(row, row + width):
            if excess[p] >= 0:
                continue
            node[p] = ROOT
            queue[count] = p
            count += (
                excess[p - 1] >= 0
                or excess[p + 1] >= 0
                or excess[p - stride] >= 0
                or excess[p + stride] >= 0
            )
    return count


@inlined
def usable(left, limit):
    """What a sweep may send through an arc: a hard arc keeps at least ``limit``."""
    return left - limit if left >= limit else left


@step
def sweep_line(first, length, step, d, limit, inc, excess, wanted):
    """Carry supplies along one line in direction d to the demands that ask for them.

    The line is ``first, first + step, ...``. Each stretch of pixels that a demand further on asks
    is found from its end, with what it asks of each, and flows from its start.
    """
    end = length - 1
    while end > 0:
        if excess[first + end * step] >= 0:
            end -= 1
            continue
        i = end
        need = -excess[first + i * step]
        while i > 0 and need > 0:
            need = min(need, usable(inc[4 * (first + i * step) + (d ^ 1)], limit))
            if need <= 0:
                break
            i -= 1
            wanted[i] = need
            need -= excess[first + i * step]
        for j in range(i, end):
            p = first + j * step
            if excess[p] > 0:
                flow = min(excess[p], wanted[j])
                excess[p] -= flow
                excess[p + step] += flow
                inc[4 * (p + step) + (d ^ 1)] -= flow
                inc[4 * p + d] += flow
        end = i if i < end else end - 1


@step
def sweep_strip(first, height, width, step, d, limit, inc, excess, wanted):
    """:func:`sweep_line` for ``width`` columns at once, row by row, which suits the memory.

    ``first`` is the left pixel of the row from which flow starts. ``wanted`` holds ``width`` values
    for each row, and behind them for each row whether it wants anything.
    """
    flags = height * width
    wanted[flags + height - 1] = 0
    for i in range(flags - width, flags):
        wanted[i] = 0
    for r in range(height - 1, 0, -1):
        row = first + r * step
        asks = wanted[flags + r] != 0
        for p in range(row, row + width):
            asks |= excess[p] < 0
        wanted[flags + r - 1] = asks
        if not asks:
            for i in range((r - 1) * width, r * width):
                wanted[i] = 0
            continue
        asks = False
        for i in range(width):
            need = wanted[r * width + i] - excess[row + i]
            if need > 0:
                need = min(need, usable(inc[4 * (row + i) + (d ^ 1)], limit))
                asks = True
            else:
                need = 0
            wanted[(r - 1) * width + i] = need
        wanted[flags + r - 1] = asks
    for r in range(height - 1):
        if wanted[flags + r] == 0:
            continue
        row = first + r * step
        for i in range(width):
            p = row + i
            if excess[p] > 0 and wanted[r * width + i] > 0:
                flow = min(excess[p], wanted[r * width + i])
                excess[p] -= flow
                excess[p + step] += flow
                inc[4 * (p + step) + (d ^ 1)] -= flow
                inc[4 * p + d] += flow


@kernel
def sweep(shape, stride, limit, inc, excess, wanted):
    """Send flow along the rows, then along the columns, before any search for paths."""
    height, width = shape
    for y in range(height):
        row = (y + 1) * stride + 1
        sweep_line(row, width, 1, 1, limit, inc, excess, wanted)
        sweep_line(row + width - 1, width, -1, 0, limit, inc, excess, wanted)
    for x in range(0, width, STRIP):
        columns = min(STRIP, width - x)
        top = stride + 1 + x
        bottom = top + (height - 1) * stride
        sweep_strip(top, height, columns, stride, 3, limit, inc, excess, wanted)
        sweep_strip(bottom, height, columns, -stride, 2, limit, inc, excess, wanted)


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
def augment(p, d, offsets, limit, inc, excess, node, chain, heads, pending):
    """Send flow from the supply beside p (direction d) along p's tree path to its root.

    Pixels that are cut off become orphans.

    Returns:
        The smallest level of an orphan, ``NONE`` without any.
    """
    q = p + offsets[d]
    amount = min(excess[q], inc[4 * p + d])
    v = p
    while node[v] & CODE != ROOT:
        e = (node[v] & CODE) - 1
        v += offsets[e]
        amount = min(amount, inc[4 * v + (e ^ 1)])
    amount = min(amount, -excess[v])
    left = inc[4 * p + d] - amount
    overflow = left < limit <= left + amount
    inc[4 * p + d] = left
    inc[4 * q + (d ^ 1)] += amount
    excess[q] -= amount
    lowest = NONE
    v = p
    while node[v] & CODE != ROOT:
        e = (node[v] & CODE) - 1
        u = v + offsets[e]
        left = inc[4 * u + (e ^ 1)] - amount
        overflow |= left < limit <= left + amount
        inc[4 * u + (e ^ 1)] = left
        inc[4 * v + e] += amount
        if left == 0:
            lowest = min(lowest, orphan(v, node, chain, heads))
        v = u
    excess[v] += amount
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
def adopt(level, depth, offsets, inc, node, chain, heads, pending, lost, queue, count):
    """Give every orphan a new parent, or append it to ``lost``.

    An orphan that finds a neighbour whose path leads to a root keeps its own subtree as it is,
    otherwise its children become orphans too.

    Returns:
        The new length of ``queue``, the pixels at level ``depth + 1``.
    """
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
                and inc[4 * u + (d ^ 1)] > 0
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
def list_rim(num_lost, depth, offsets, inc, node, chain, heads, lost):
    """List each lost pixel beside the tree by the level it would have there; none: too far."""
    lowest = depth + 2
    for i in range(num_lost):
        v = lost[i]
        level = depth + 1
        for d in range(4):
            u = v + offsets[d]
            word = node[u]
            if word >> LEVEL < level and in_tree(word) and inc[4 * u + (d ^ 1)] > 0:
                level = word >> LEVEL
        level += 1
        node[v] = level << LEVEL | node[v] & (3 * QUEUED) | ORPHAN
        if level <= depth + 1:
            chain[v] = heads[level]
            heads[level] = v
            lowest = min(lowest, level)
    return lowest


@inlined
def find_parent(v, offsets, inc, node):
    """Code of the direction of a tree pixel of a smaller level that v can send to."""
    for d in range(4):
        u = v + offsets[d]
        word = node[u]
        if word >> LEVEL < node[v] >> LEVEL and in_tree(word) and inc[4 * u + (d ^ 1)] > 0:
            return d + 1
    return 0


@step
def relabel(num_lost, depth, offsets, inc, node, chain, heads, lost, queue, count):
    """Place all of ``lost`` by one breadth-first search from the tree pixels around them.

    Those too far away for level ``depth + 1`` become free.

    Returns:
        The new length of ``queue``, the pixels at level ``depth + 1``.
    """
    level = list_rim(num_lost, depth, offsets, inc, node, chain, heads, lost)
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
            node[v] = node[v] & ~CODE | find_parent(v, offsets, inc, node)
        if level == depth + 1:
            count = enqueue(v, level, node, queue, count)
            continue
        for d in range(4):
            w = v + offsets[d]
            word = node[w]
            if word & CODE == ORPHAN and word >> LEVEL > level + 1 and inc[4 * v + d] > 0:
                node[w] = (level + 1) << LEVEL | word & (3 * QUEUED) | ((d ^ 1) + 1)
                lost[end] = w
                end += 1
    for i in range(num_lost):
        if node[lost[i]] & CODE == ORPHAN:
            node[lost[i]] &= 3 * QUEUED
    return count


@step
def use_supplies(p, depth, offsets, limit, arrays, pending, queue, count):
    """Use up the supplies around p while it stays in the tree.

    Returns:
        The new length of ``queue``.
    """
    inc, excess, node, chain, heads, lost, waiting = arrays
    for d in range(4):
        q = p + offsets[d]
        while inc[4 * p + d] > 0 and node[q] & CODE == FREE:
            if node[p] & CODE == ORPHAN:
                waiting[pending[WAITING]] = p
                pending[WAITING] += 1
                return count
            if node[p] >> LEVEL > depth:
                return count
            if excess[q] == 0:
                node[q] = (depth + 1) << LEVEL | node[q] & (3 * QUEUED) | ((d ^ 1) + 1)
                count = enqueue(q, depth + 1, node, queue, count)
            else:
                level = augment(p, d, offsets, limit, inc, excess, node, chain, heads, pending)
                if level < NONE:
                    count = adopt(
                        level, depth, offsets, inc, node, chain, heads, pending, lost, queue, count
                    )
    return count


@step
def grow_level(here, num_here, queue, depth, offsets, limit, arrays, pending):
    """Scan all pixels at level ``depth``: take in free neighbours, use up supplies.

    Returns:
        The number of pixels at level ``depth + 1``, in ``queue``.
    """
    inc, excess, node, chain, heads, lost, waiting = arrays
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
            if inc[4 * p + d] > 0:
                q = p + offsets[d]
                if node[q] & CODE == FREE:
                    if excess[q] == 0:
                        node[q] = (depth + 1) << LEVEL | node[q] & (3 * QUEUED) | ((d ^ 1) + 1)
                        count = enqueue(q, depth + 1, node, queue, count)
                    else:
                        supply = True
        if supply:
            count = use_supplies(p, depth, offsets, limit, arrays, pending, queue, count)
    return count


@step
def serve_waiting(depth, offsets, limit, arrays, pending, queue, count):
    """Place lost pixels and look again at those that waited for it, until none is left.

    Returns:
        The new length of ``queue``.
    """
    inc, excess, node, chain, heads, lost, waiting = arrays
    while pending[LOST]:
        num_lost, num_waiting = pending[LOST], pending[WAITING]
        pending[LOST] = pending[WAITING] = 0
        count = relabel(num_lost, depth, offsets, inc, node, chain, heads, lost, queue, count)
        for i in range(num_waiting):
            p = waiting[i]
            if node[p] & CODE == ORPHAN:
                waiting[pending[WAITING]] = p
                pending[WAITING] += 1
            elif node[p] >> LEVEL <= depth and node[p] & CODE != FREE:
                count = use_supplies(p, depth, offsets, limit, arrays, pending, queue, count)
    return count


@kernel
def maximise_flow(roots, count, spare, stride, limit, arrays, pending):
    """Maximum flow; afterwards the tree holds exactly what still reaches a demand.

    Returns:
        False on overflow.
    """
    excess, node, heads = arrays[1], arrays[2], arrays[4]
    offsets = (-1, 1, -stride, stride)
    kept = 0
    for i in range(count):
        p = roots[i]
        if excess[p] < 0:
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
        count = grow_level(here, count, there, depth, offsets, limit, arrays, pending)
        if pending[LOST]:
            count = serve_waiting(depth, offsets, limit, arrays, pending, there, count)
        if pending[OVERFLOW]:
            return False
        here, there = there, here
        depth += 1
    return True


@kernel
def add_ties(shape, stride, inc, excess, node, stack):
    """Mark TIE what no supply reaches, besides the tree: the rest of the largest cut."""
    height, width = shape
    offsets = (-1, 1, -stride, stride)
    size = 0
    for y in range(height):
        row = (y + 1) * stride + 1
        for p in range(row, row + width):
            if excess[p] != 0 or node[p] != FREE:
                continue
            node[p] = TIE
            for d in range(4):
                if inc[4 * p + d] > 0 and excess[p + offsets[d]] > 0:
                    node[p] = FREE
                    stack[size] = p
                    size += 1
                    break
    while size:
        size -= 1
        v = stack[size]
        for d in range(4):
            q = v + offsets[d]
            if node[q] == TIE and inc[4 * q + (d ^ 1)] > 0:
                node[q] = FREE
                stack[size] = q
                size += 1


@kernel
def list_moved(node, moved):
    """List all pixels that are not FREE; returns their number."""
    count = 0
    for p in range(node.size):
        moved[count] = p
        count += node[p] & CODE != FREE
    return count


@kernel
def energy_change(moved, count, unary, stride, labels, pairs, weights, node):
    """Exact change of energy if all of ``moved`` go up by one."""
    offsets = (-1, 1, -stride, stride)
    smoothness, occlusion = weights[0], weights[1]
    change = 0
    y, row = 0, stride
    for i in range(count):
        p = moved[i]
        while p >= row + stride:
            row += stride
            y += 1
        if labels[p] == 0:
            change += unary[y, p - row - 1]
        for d in range(4):
            q = p + offsets[d]
            if node[q] & CODE == FREE and labels[q] >= 0:
                step = labels[p] - labels[q]
                if step == 0:
                    change += smoothness - occlusion * (pairs[p] >> d & 1)
                elif step == -1:
                    change += occlusion * (pairs[p] >> (4 + d) & 1) - smoothness
    return change


@inlined
def rewrite_pixel(p, offsets, labels, pairs, weights, modular, inc, excess, node):
    """Arcs and costs of p and its pairs after a move in which p took part.

    A pixel that leaves the background starts afresh: the demand that its flow fed is gone.
    """
    code = pairs[p]
    fresh = labels[p] == 0
    cost = 0
    for d in range(4):
        q = p + offsets[d]
        moved = node[q] & CODE != FREE
        step = labels[p] - labels[q]
        behind = code >> (4 + d) & 1
        if moved and (labels[q] == 0 or not fresh):
            if fresh:
                cost += pair_cost(step, code, d, weights, modular)
                inc[4 * p + d] = capacity(step, behind, weights)
            continue
        new_step = step + 1 - moved
        flow = capacity(step, behind, weights) - inc[4 * p + d]
        cost += pair_cost(new_step, code, d, weights, modular)
        if not fresh:
            cost -= flow + pair_cost(step, code, d, weights, modular)
        inc[4 * p + d] = capacity(new_step, behind, weights)
        inc[4 * q + (d ^ 1)] = capacity(-new_step, code >> d & 1, weights)
        other = pairs[q]
        excess[q] += flow + pair_cost(-new_step, other, d ^ 1, weights, modular)
        excess[q] -= pair_cost(-step, other, d ^ 1, weights, modular)
    excess[p] = cost if fresh else excess[p] + cost


@kernel
def apply_move(moved, count, stride, labels, pairs, weights, modular, inc, excess, node, roots):
    """Raise ``moved``, bring flow and costs up to date, free the tree.

    Returns:
        The number of pixels with a demand, all in ``roots`` and ROOT.
    """
    offsets = (-1, 1, -stride, stride)
    smoothness = weights[0]
    for i in range(count):
        p = moved[i]
        inside = (
            node[p - 1] & CODE != FREE
            and node[p + 1] & CODE != FREE
            and node[p - stride] & CODE != FREE
            and node[p + stride] & CODE != FREE
        )
        if inside and pairs[p] == 0 and same_around(p, stride, labels):
            if labels[p] == 0:
                for d in range(4):
                    inc[4 * p + d] = smoothness
                excess[p] = 0
            continue
        rewrite_pixel(p, offsets, labels, pairs, weights, modular, inc, excess, node)
    num_roots = 0
    for i in range(count):
        p = moved[i]
        labels[p] += 1
        node[p] = FREE
        if excess[p] < 0:
            node[p] = ROOT
            roots[num_roots] = p
            num_roots += 1
        for d in range(4):
            q = p + offsets[d]
            if excess[q] < 0 and node[q] & CODE == FREE:
                node[q] = ROOT
                roots[num_roots] = q
                num_roots += 1
    return num_roots


@kernel
def renew(
    shape, stride, labels, pairs, weights, was_modular, modular, inc, excess, node, roots, count
):
    """Drop all flow that touches a label > 0 and go over to another bound.

    Only there do bounds differ, and the flow that suits one stands in the way of another.

    Returns:
        The number of pixels with a demand, all in ``roots`` and ROOT.
    """
    height, width = shape
    offsets = (-1, 1, -stride, stride)
    for i in range(count):
        node[roots[i]] = FREE
    for y in range(height):
        row = (y + 1) * stride + 1
        for p in range(row, row + width):
            if labels[p] == 0:
                continue
            code = pairs[p]
            cost = 0
            for d in range(4):
                q = p + offsets[d]
                step = labels[p] - labels[q]
                full = capacity(step, code >> (4 + d) & 1, weights)
                cost += pair_cost(step, code, d, weights, modular)
                if labels[q] == 0:
                    other = pairs[q]
                    excess[q] += full - inc[4 * p + d]
                    excess[q] += pair_cost(-step, other, d ^ 1, weights, modular)
                    excess[q] -= pair_cost(-step, other, d ^ 1, weights, was_modular)
                    inc[4 * q + (d ^ 1)] = capacity(-step, code >> d & 1, weights)
                inc[4 * p + d] = full
            excess[p] = cost
    count = 0
    for y in range(height):
        row = (y + 1) * stride + 1
        for p in range(row, row + width):
            if excess[p] < 0:
                node[p] = ROOT
                roots[count] = p
                count += 1
    return count


@inlined
def step_cost(step, front, behind, weights):
    """Energy of a pair; ``front``, ``behind``: p occludes q, q occludes p."""
    if step == 0:
        return 0
    return weights[0] - weights[1] * (front if step > 0 else behind)


@kernel
def initialise_fusion(unary, stride, labels, proposal, pairs, weights, inc, excess):
    """Arcs and costs of a fusion (:func:`occ_order.crf.moves.fusion_problem`), without flow."""
    height, width = unary.shape
    inc[:] = 0
    for y in range(height):
        for x in range(width):
            old = labels[(y + 1) * stride + x + 1]
            excess[(y + 1) * stride + x + 1] = unary[y, x] * ((proposal[y, x] > 0) - (old > 0))
    for y in range(height):
        for x in range(width):
            p = (y + 1) * stride + x + 1
            for d in (1, 3):
                y_q, x_q = y + (d == 3), x + (d == 1)
                if y_q == height or x_q == width:
                    continue
                q = (y_q + 1) * stride + x_q + 1
                old_p, old_q = labels[p], labels[q]
                new_p, new_q = proposal[y, x], proposal[y_q, x_q]
                if old_p == new_p and old_q == new_q:
                    continue
                front, behind = pairs[p] >> d & 1, pairs[p] >> (4 + d) & 1
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
                inc[4 * p + d] = weights[2] * p_never
                inc[4 * q + (d ^ 1)] = weights[2] * q_never
                if not (p_never or q_never):
                    # Shared by both arcs, or flow would cross the image just to even them out.
                    half = max(q_alone - share_q, 0) // 2
                    inc[4 * p + d] = half
                    inc[4 * q + (d ^ 1)] = max(q_alone - share_q, 0) - half
                    excess[p] -= half
                    excess[q] += half
                elif not q_never:
                    inc[4 * q + (d ^ 1)] = max(q_alone - share_q, 0)


@kernel
def fusion_change(moved, count, unary, stride, labels, proposal, pairs, weights, node):
    """Exact change of energy if all of ``moved`` take the proposal."""
    height, width = unary.shape
    change = 0
    for i in range(count):
        p = moved[i]
        y = p // stride - 1
        x = p - (y + 1) * stride - 1
        old, new = labels[p], proposal[y, x]
        change += unary[y, x] * ((new > 0) - (old > 0))
        for d in range(4):
            y_q, x_q = y + (d == 3) - (d == 2), x + (d == 1) - (d == 0)
            if y_q < 0 or x_q < 0 or y_q == height or x_q == width:
                continue
            q = (y_q + 1) * stride + x_q + 1
            other = labels[q]
            if node[q] & CODE != FREE:
                if not d & 1:
                    continue  # counted from the other end
                other = proposal[y_q, x_q]
            front, behind = pairs[p] >> d & 1, pairs[p] >> (4 + d) & 1
            change += step_cost(new - other, front, behind, weights)
            change -= step_cost(old - labels[q], front, behind, weights)
    return change


@kernel
def take_proposal(moved, count, stride, labels, proposal):
    """Give all of ``moved`` the label of ``proposal`` (H, W)."""
    for i in range(count):
        y = moved[i] // stride - 1
        labels[moved[i]] = proposal[y, moved[i] - (y + 1) * stride - 1]
