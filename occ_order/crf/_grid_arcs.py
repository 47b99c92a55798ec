"""Layout of the compiled solver (:mod:`occ_order.crf.grid`), and costs and arcs of its jumps.

Everything works on one flat grid with pad pixels around it, ``p = (y + 1) * stride + x + 1``, so
that no kernel asks whether a neighbour exists. Directions are left, right, top, bottom = 0..3, and
``d ^ 1`` is the opposite of d.

* ``inc[d, p]``: what the arc from p's neighbour in direction d to p can still carry.
* ``arcs[p]``: bit d: that arc carries something; bit 4 + d: so does the arc from p to the
  neighbour. Searches read nothing else of the arcs: one byte a pixel.
* ``excess[p]``: > 0 what p still supplies (the cost of raising it), < 0 what it still demands.
* ``pairs[p]``: bit d: p occludes that neighbour; bit 4 + d: that neighbour occludes p.
* ``node[p]``: bits 0-2 FREE, SUPPLY, ROOT, ORPHAN or 1 + the direction of p's parent in the sink
  tree; bits 3-4 queued for an even / odd level; from bit 5 the level, about the distance to the
  root. SUPPLY and ROOT say what ``excess`` is; all others have none.

Pixel numbers in hot loops are unsigned: of a signed index, the compiler asks each time whether it
counts from the end.

Sending flow rewrites the energy function without changing its values, so the labels may change
under a flow: arcs that stay the same keep what they carry, others give it back.
"""

from __future__ import annotations

import numpy as np

from occ_order.crf._compile import inlined, kernel, step

FREE, ROOT, ORPHAN, SUPPLY = 0, 5, 6, 7
TIE = ORPHAN  # what moves on a tie; there are no orphans any more by then
CODE = 7  # mask of a node's code
ALL_OPEN = 255
BLOCK, WIDE_BLOCK = 64, 128  # pixels that are looked at together
MOVES, INNER = 1, 2  # marks of pixels, see :func:`mark`
ALL_INNER = 0x0303030303030303  # eight such marks


@step
def fill(stretch, value):
    """Set a stretch of an array to ``value``; memory that has it already is only read."""
    found = 0
    for i in range(len(stretch)):
        found |= stretch[i] ^ value
    if found == 0:
        return
    for i in range(len(stretch)):
        stretch[i] = value


@inlined
def beside(p, offset):
    """The pixel number ``p + offset``."""
    return np.uint32(p + offset)


@inlined
def around(array, start, end, stride):
    """The stretch from ``start`` to ``end`` of a flat array, and its left, right, upper, lower."""
    return (
        array[start:end],
        array[start - 1 : end - 1],
        array[start + 1 : end + 1],
        array[start - stride : end - stride],
        array[start + stride : end + stride],
    )


@kernel
def pack_pairs(places, shape, stride, pairs):
    """Fill ``pairs`` from the places of :attr:`occ_order.crf.energy.Problem.pairs`."""
    height, width = shape
    plane = height * width
    offsets = (-1, 1, -stride, stride)
    fill(pairs, 0)
    for i in places:
        d = i // plane
        y = (i - d * plane) // width
        p = (y + 1) * stride + 1 + (i - d * plane) - y * width
        pairs[p] |= 1 << d
        pairs[p + offsets[d]] |= 16 << (d ^ 1)


@inlined
def moves(word):
    """Does the pixel of this node move, after the maximum flow?"""
    return np.uint32(((word & CODE) + 1) & 6) != np.uint32(0)  # neither FREE nor SUPPLY


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
def note_arc(p, d, q, inc, arcs):
    """Bring ``arcs`` up to date with the arc from q, p's neighbour in direction d, to p."""
    if inc[d, p] > 0:
        arcs[p] |= 1 << d
        arcs[q] |= 16 << (d ^ 1)
    else:
        arcs[p] &= ~(1 << d)
        arcs[q] &= ~(16 << (d ^ 1))


@inlined
def set_node(p, excess, node):
    """Bring p's node, outside the tree, up to date with its excess."""
    node[p] = SUPPLY if excess[p] > 0 else FREE if excess[p] == 0 else ROOT


@inlined
def start_pixel(p, offsets, labels, pairs, weights, modular, inc, arcs):
    """Set the arcs into p, without flow, and its bits; returns what its pairs cost."""
    code = pairs[p]
    cost = 0
    bits = 0
    for d in range(4):
        step = labels[p] - labels[beside(p, offsets[d])]
        cost += pair_cost(step, code, d, weights, modular)
        inc[d, p] = capacity(step, code >> (4 + d) & 1, weights)
        bits |= (inc[d, p] > 0) << d
        bits |= (capacity(-step, code >> d & 1, weights) > 0) << (4 + d)
    arcs[p] = bits
    return cost


@step
def start_costs(labels, unary, excess):
    """Set ``excess`` to ``unary`` where the label is 0: leaving the background costs only once."""
    for i in range(len(labels)):
        excess[i] = unary[i] if labels[i] == 0 else 0


@step
def add_one(labels):
    """Raise a stretch of labels."""
    for i in range(len(labels)):
        labels[i] += 1


@step
def mark_changes(label, left, right, above, below, pairs, marks):
    """Mark pixels of a stretch that have a pair, or not the label of all four neighbours."""
    for i in range(len(marks)):
        found = np.int32((label[i] ^ left[i]) | (label[i] ^ right[i]))
        found = np.int32(found | (label[i] ^ above[i]) | (label[i] ^ below[i]) | pairs[i])
        marks[i] = found != np.int32(0)


@step
def list_marks(marks, words, start, places, count):
    """Append the pixels of the stretch from ``start`` on that are marked to ``places``.

    Args:
        marks: uint8, one for each pixel; words: the same memory, and perhaps more, as int64.
        count: number of places before.

    Returns:
        Their new number.
    """
    for k in range((len(marks) + 7) >> 3):
        if words[k] != 0:
            for i in range(8 * k, min(8 * k + 8, len(marks))):
                places[count] = start + i
                count += marks[i] != 0
    return count


@step
def start_row(
    y, unary, stride, labels, pairs, weights, modular, inc, arcs, excess, marks, words, places
):
    """Arcs and costs of row y in a jump from ``labels``, without any flow.

    ``marks``, ``words`` (see :func:`list_marks`), ``places``: room for a row.
    """
    width = unary.shape[1]
    offsets = (-1, 1, -stride, stride)
    smoothness = weights[0]
    row = (y + 1) * stride + 1
    end = row + width
    for start in range(row, end, WIDE_BLOCK):
        for d in range(4):
            fill(inc[d, start : min(start + WIDE_BLOCK, end)], smoothness)
    fill(arcs[row:end], ALL_OPEN if smoothness > 0 else 0)
    start_costs(labels[row:end], unary[y], excess[row:end])
    mark_changes(*around(labels, row, end, stride), pairs[row:end], marks[:width])
    count = list_marks(marks[:width], words, row, places, 0)
    for k in range(count):
        p = places[k]
        excess[p] += start_pixel(p, offsets, labels, pairs, weights, modular, inc, arcs)


@step
def write_nodes(excess, node, sign):
    """Write the nodes of a stretch of pixels outside the tree; returns how many are ROOT."""
    num_roots = 0
    for i in range(len(node)):
        amount = sign * excess[i]
        node[i] = ROOT if amount < 0 else SUPPLY if amount > 0 else FREE
        num_roots += amount < 0
    return num_roots


@step
def mark_growing(excess, left, right, above, below, sign, marks):
    """Mark roots in this stretch of pixels, given also as its neighbours, beside one that is none.

    Inner roots cannot grow.
    """
    for i in range(len(marks)):
        inner = (sign * left[i] < 0) & (sign * right[i] < 0)
        inner &= (sign * above[i] < 0) & (sign * below[i] < 0)
        marks[i] = (sign * excess[i] < 0) & (not inner)


@kernel
def find_roots(shape, stride, excess, node, marks, words, queue, sign):
    """Write all nodes: ROOT where there is a demand, SUPPLY, or FREE.

    Args:
        marks, words: room for a row, see :func:`list_marks`.
        sign: 1, or -1 to change supplies and demands over.

    Returns:
        The number of roots that can grow, in ``queue``; and the number of all roots.
    """
    height, width = shape
    count = num_roots = 0
    for y in range(height):
        row = (y + 1) * stride + 1
        end = row + width
        num_here = write_nodes(excess[row:end], node[row:end], sign)
        if num_here:
            mark_growing(*around(excess, row, end, stride), sign, marks[:width])
            count = list_marks(marks[:width], words, row, queue, count)
        num_roots += num_here
    return count, num_roots


@step
def any_moves(node):
    """Does a pixel of this stretch move?"""
    found = 0
    for i in range(len(node)):
        found |= ((node[i] & CODE) + 1) & 6  # as in :func:`moves`
    return found != 0


@step
def mark(label, left, right, above, below, pairs, node, west, east, north, south, marks):
    """Write MOVES and INNER for a stretch of pixels, given also as its four neighbours.

    Inner pixels move with all their neighbours, from the same label, and have no ordered pair.
    """
    for i in range(len(marks)):
        inner = moves(node[i]) & moves(west[i]) & moves(east[i]) & moves(north[i]) & moves(south[i])
        other = np.int32((label[i] ^ left[i]) | (label[i] ^ right[i]))
        other = np.int32(other | (label[i] ^ above[i]) | (label[i] ^ below[i]))
        inner &= (other == np.int32(0)) & (pairs[i] == np.uint8(0))
        marks[i] = np.uint8(moves(node[i])) * np.uint8(MOVES) | np.uint8(inner) * np.uint8(INNER)


@inlined
def end_of_moves(start, end, node):
    """End of the blocks from ``start`` on in each of which a pixel moves."""
    while start < end and any_moves(node[start : min(start + BLOCK, end)]):
        start += BLOCK
    return min(start, end)


@kernel
def list_moved(stride, labels, pairs, node, marks, words, runs, rim):
    """List what moves: stretches of inner pixels (see :func:`mark`) in ``runs``, others in ``rim``.

    Args:
        marks: uint8, a multiple of BLOCK; words: the same memory as int64.
        runs: first pixel and end of each stretch.

    Returns:
        The numbers of entries in ``runs`` and in ``rim``.
    """
    num_runs = num_rim = 0
    start, last = stride, node.size - stride
    while start < last:
        end = end_of_moves(start, min(start + len(marks), last), node)
        if end == start:
            start += BLOCK
            continue
        mark(
            *around(labels, start, end, stride),
            pairs[start:end],
            *around(node, start, end, stride),
            marks[: end - start],
        )
        inside = False
        for k in range(start, end, 8):
            if words[(k - start) >> 3] == (ALL_INNER if inside else 0):
                continue
            for i in range(k, min(k + 8, end)):
                found = marks[i - start]
                if (found & INNER != 0) != inside:
                    inside = not inside
                    runs[num_runs] = i
                    num_runs += 1
                rim[num_rim] = i
                num_rim += found == MOVES
        if inside:
            runs[num_runs] = end
            num_runs += 1
        start = end
    return num_runs, num_rim


@kernel
def write_moved(stride, node, moved):
    """Write to bool (H, W) which pixels move."""
    height, width = moved.shape
    for y in range(height):
        row = (y + 1) * stride + 1
        for x in range(width):
            moved[y, x] = moves(node[row + x])


@kernel
def free_nodes(runs, rim, excess, node):
    """Take what moved out of the tree."""
    for k in range(0, len(runs), 2):
        start, end = runs[k], runs[k + 1]
        write_nodes(excess[start:end], node[start:end], 1)
    for p in rim:
        set_node(p, excess, node)


@kernel
def energy_change(runs, rim, unary, stride, labels, pairs, weights, node):
    """Exact change of energy if ``runs`` and ``rim`` (see :func:`list_moved`) go up by one."""
    offsets = (-1, 1, -stride, stride)
    smoothness, occlusion = weights[0], weights[1]
    change = 0
    for k in range(0, len(runs), 2):
        start, end = runs[k], runs[k + 1]
        if labels[start] == 0:
            y = start // stride - 1
            first = (y + 1) * stride + 1
            for cost in unary[y, start - first : end - first]:
                change += cost
    for p in rim:
        if labels[p] == 0:
            y = p // stride - 1
            change += unary[y, p - (y + 1) * stride - 1]
        for d in range(4):
            q = beside(p, offsets[d])
            if not moves(node[q]) and labels[q] >= 0:
                step = labels[p] - labels[q]
                if step == 0:
                    change += smoothness - occlusion * (pairs[p] >> d & 1)
                elif step == -1:
                    change += occlusion * (pairs[p] >> (4 + d) & 1) - smoothness
    return change


@inlined
def rewrite_pixel(p, offsets, labels, pairs, weights, modular, inc, arcs, excess, node):
    """Arcs and costs of p and its pairs after a move in which p took part.

    A pixel that leaves the background starts afresh: the demand that its flow fed is gone.
    """
    code = pairs[p]
    fresh = labels[p] == 0
    cost = 0
    for d in range(4):
        q = beside(p, offsets[d])
        moved = moves(node[q])
        step = labels[p] - labels[q]
        behind = code >> (4 + d) & 1
        if moved and (labels[q] == 0 or not fresh):
            if fresh:
                cost += pair_cost(step, code, d, weights, modular)
                inc[d, p] = capacity(step, behind, weights)
                back = capacity(-step, code >> d & 1, weights)
                arcs[p] &= ~(17 << d)
                arcs[p] |= (inc[d, p] > 0) << d | (back > 0) << (4 + d)
            continue
        new_step = step + 1 - moved
        flow = capacity(step, behind, weights) - inc[d, p]
        cost += pair_cost(new_step, code, d, weights, modular)
        if not fresh:
            cost -= flow + pair_cost(step, code, d, weights, modular)
        inc[d, p] = capacity(new_step, behind, weights)
        inc[d ^ 1, q] = capacity(-new_step, code >> d & 1, weights)
        note_arc(p, d, q, inc, arcs)
        note_arc(q, d ^ 1, p, inc, arcs)
        other = pairs[q]
        excess[q] += flow + pair_cost(-new_step, other, d ^ 1, weights, modular)
        excess[q] -= pair_cost(-step, other, d ^ 1, weights, modular)
    excess[p] = cost if fresh else excess[p] + cost


@kernel
def rewrite(runs, rim, stride, labels, pairs, weights, modular, inc, arcs, excess, node):
    """Bring arcs, costs and flow up to date with a move, from before it is made."""
    offsets = (-1, 1, -stride, stride)
    smoothness = weights[0]
    default = ALL_OPEN if smoothness > 0 else 0
    for p in rim:
        rewrite_pixel(p, offsets, labels, pairs, weights, modular, inc, arcs, excess, node)
    for k in range(0, len(runs), 2):
        start, end = runs[k], runs[k + 1]
        if labels[start] == 0:
            for d in range(4):
                fill(inc[d, start:end], smoothness)
            fill(arcs[start:end], default)
            fill(excess[start:end], 0)


@kernel
def raise_labels(runs, rim, stride, labels, excess, node, roots):
    """Make a move, and free the tree.

    Returns:
        The number of pixels with a demand, all in ``roots`` and ROOT.
    """
    offsets = (-1, 1, -stride, stride)
    num_roots = 0
    for p in rim:
        for d in range(4):
            q = beside(p, offsets[d])
            if not moves(node[q]):
                set_node(q, excess, node)
                if excess[q] < 0:
                    roots[num_roots] = q
                    num_roots += 1
    for p in rim:
        labels[p] += 1
        set_node(p, excess, node)
        if excess[p] < 0:
            roots[num_roots] = p
            num_roots += 1
    for k in range(0, len(runs), 2):
        start, end = runs[k], runs[k + 1]
        add_one(labels[start:end])
        if write_nodes(excess[start:end], node[start:end], 1):
            for p in range(start, end):
                if node[p] == ROOT:
                    roots[num_roots] = p
                    num_roots += 1
    return num_roots


@step
def change_costs(labels, new, unary, excess):
    """Bring ``excess`` up to date with a stretch of labels that come to or leave 0."""
    for i in range(len(labels)):
        excess[i] += unary[i] * np.int32(np.int32(new[i] == 0) - np.int32(labels[i] == 0))


@step
def mark_steps(label, right, below, new, new_right, new_below, marks):
    """Mark where the step to the right or below changes; returns whether there is one."""
    anything = np.int32(0)
    for i in range(len(marks)):
        change = np.int32(new[i] - label[i])
        found = np.int32(np.int32(new_right[i] - right[i]) ^ change)
        found = np.int32(found | np.int32(np.int32(new_below[i] - below[i]) ^ change))
        marks[i] = found != np.int32(0)
        anything = np.int32(anything | found)
    return anything != 0


@kernel
def relabel(
    unary, labels, new, stride, pairs, weights, modular, inc, arcs, excess, marks, words, places
):
    """Bring arcs, costs and flow up to date with a change of labels, from before it is made.

    Pairs of which one label changes, or both but differently, give back their flow.

    Args:
        labels, new: int32, flat with pads.
        marks, words: as for :func:`start_row`; places: room for all pixels.
    """
    height, width = unary.shape
    offsets = (-1, 1, -stride, stride)
    count = 0
    for y in range(height):
        row = (y + 1) * stride + 1
        end = row + width
        change_costs(labels[row:end], new[row:end], unary[y], excess[row:end])
        label, _, right, _, below = around(labels, row, end, stride)
        new_label, _, new_right, _, new_below = around(new, row, end, stride)
        if mark_steps(label, right, below, new_label, new_right, new_below, marks[:width]):
            count = list_marks(marks[:width], words, row, places, count)
    for k in range(count):
        p = places[k]
        for d in (1, 3):
            q = beside(p, offsets[d])
            step = labels[p] - labels[q]
            new_step = new[p] - new[q]
            if step == new_step:
                continue
            front, behind = pairs[p] >> d & 1, pairs[p] >> (4 + d) & 1
            flow = capacity(step, behind, weights) - inc[d, p]
            excess[p] += pair_cost(new_step, pairs[p], d, weights, modular) - flow
            excess[p] -= pair_cost(step, pairs[p], d, weights, modular)
            excess[q] += pair_cost(-new_step, pairs[q], d ^ 1, weights, modular) + flow
            excess[q] -= pair_cost(-step, pairs[q], d ^ 1, weights, modular)
            inc[d, p] = capacity(new_step, behind, weights)
            inc[d ^ 1, q] = capacity(-new_step, front, weights)
            note_arc(p, d, q, inc, arcs)
            note_arc(q, d ^ 1, p, inc, arcs)
