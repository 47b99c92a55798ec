"""Layout of the compiled solver (:mod:`occ_order.crf.grid`), and costs and arcs of its jumps.

All arrays are flat, over the pixels of the image and *pad pixels* around it, so that every pixel
has four neighbours and no kernel tests for the border. Pixel (x, y) has the index
``p = (y + 1) * stride + x + 1``. An image with H = 2, W = 4 (`#` = pad pixel)::

    stride = (W + 1) | 1 = 5 (odd)      size = (H + 2) * stride + 1 = 21

             x = -1    0    1    2    3
    y = -1       #0   #1   #2   #3   #4
    y =  0       #5    6    7    8    9     the pad to the right of a row is the one
    y =  1      #10   11   12   13   14     to the left of the next: 9 + 1 = #10
    y =  2      #15  #16  #17  #18  #19
                #20

Directions d: 0 = left, 1 = right, 2 = top, 3 = bottom; ``d ^ 1`` is the opposite of d and
``offsets = (-1, 1, -stride, stride)`` leads from p to its neighbour q. ``inc[d, p]`` is the arc
from q into p, ``inc[d ^ 1, q]`` the arc from p into q::

                              p - stride
                                |    ^
                     inc[2, p]  v    |  inc[3, p - stride]

             inc[0, p] ---->                <---- inc[1, p]
     p - 1                        p                          p + 1
             <---- inc[1, p - 1]            inc[0, p + 1] ---->

                     inc[3, p]  ^    |  inc[2, p + stride]
                                |    v
                              p + stride

The arrays, each of length ``size`` along p:

* ``inc[d, p]``: int32 or int64, residual capacity of the arc from p's neighbour d to p, >= 0.
* ``arcs[p]``: uint8, bit d: ``inc[d, p] > 0``; bit 4 + d: the opposite arc, from p to that
  neighbour, has residual capacity. Searches read this byte instead of eight entries of ``inc``.
* ``excess[p]``: as ``inc``, residual terminal capacity: > 0 a *supply*, the arc from the source
  (raising p costs so much); < 0 a *demand*, the arc to the sink (raising p gains so much).
* ``pairs[p]``: uint8, bit d: p occludes its neighbour d; bit 4 + d: that neighbour occludes p.
* ``labels[p]``: int32, the current labelling; pad pixels have a label far from all others.
* ``node[p]``: uint32. Bits 0-2 (CODE): FREE, outside the tree, excess 0; SUPPLY, outside the tree,
  excess > 0; ROOT, excess < 0; ORPHAN, without a parent; or 1 + d, the direction of p's parent.
  Bits 3-4: queued for an even / odd level. From bit 5: level, about the distance to the root.

Pushing flow reparametrises the energy function: its values stay the same. So the labels may change
under a flow: arcs whose capacity does not change keep their flow, that of the others is cancelled.

Indices in hot loops are unsigned: for signed ones, the compiler adds a test for negative indices.

Kernels that take ``marks`` and ``words`` get the same memory twice, as uint8 and as int64, so that
eight unmarked pixels are skipped by one comparison.
"""

from __future__ import annotations

import numpy as np

from occ_order.crf._kernels.compile import inlined, kernel, step

FREE, ROOT, ORPHAN, SUPPLY = 0, 5, 6, 7  # codes of a node; 1..4 = 1 + direction of the parent
TIE = ORPHAN  # moves in the largest minimum cut only; after the search there are no orphans
CODE = 7  # mask of a node's code
ALL_OPEN = 255  # ``arcs`` of a pixel whose eight arcs all have residual capacity
BLOCK, WIDE_BLOCK = 64, 128  # pixels that are tested or filled together
MOVES, INNER = 1, 2  # marks of pixels, see :func:`mark`
ALL_INNER = 0x0303030303030303  # eight such marks


@step
def fill(stretch, value):
    """Set a run of an array to ``value``; not written if it has that value already."""
    found = 0
    for i in range(len(stretch)):
        found |= stretch[i] ^ value
    if found == 0:
        return
    for i in range(len(stretch)):
        stretch[i] = value


@inlined
def beside(p, offset):
    """Return the index ``p + offset`` as uint32."""
    return np.uint32(p + offset)


@inlined
def around(array, start, end, stride):
    """Return views of the run [start, end) and of its left, right, upper and lower neighbours."""
    return (
        array[start:end],
        array[start - 1 : end - 1],
        array[start + 1 : end + 1],
        array[start - stride : end - stride],
        array[start + stride : end + stride],
    )


@kernel
def pack_pairs(places, shape, stride, pairs):
    """Fill ``pairs`` from the flat indices of :attr:`occ_order.crf.energy.Problem.pairs`."""
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
    """Return whether the pixel of a node moves: after the maximum flow, in the tree or a tie."""
    return np.uint32(((word & CODE) + 1) & 6) != np.uint32(0)  # neither FREE nor SUPPLY


@inlined
def capacity(step, behind, weights):
    """Return the capacity of the arc q -> p: the cost of raising p but not q.

    Args:
        step: x_p - x_q, difference of the labels.
        behind: 1 if q occludes p, else 0.
        weights: (smoothness, occlusion, hard).
    """
    if step == 0:
        return weights[0] + weights[2] * behind
    return weights[1] * behind if step == -1 else 0


@inlined
def pair_cost(step, code, d, weights, modular):
    """Return the unary part of p's pair with its neighbour d: its share in the cost of raising p.

    Args:
        step: x_p - x_q, difference of the labels.
        code: pairs[p].
        d: direction of q.
        weights: (smoothness, occlusion, hard).
        modular: bound of the jump (see :mod:`occ_order.crf.moves`).
    """
    if step == 0:
        return weights[1] * ((code >> (4 + d) & 1) - (code >> d & 1))
    if modular and (step == 1 or step == -1):
        return weights[0] * step
    return 0


@inlined
def note_arc(p, d, q, inc, arcs):
    """Update ``arcs`` of both ends from ``inc[d, p]``; q is p's neighbour in direction d."""
    if inc[d, p] > 0:
        arcs[p] |= 1 << d
        arcs[q] |= 16 << (d ^ 1)
    else:
        arcs[p] &= ~(1 << d)
        arcs[q] &= ~(16 << (d ^ 1))


@inlined
def set_node(p, excess, node):
    """Set p's node, outside the tree, to SUPPLY, FREE or ROOT by its excess."""
    node[p] = SUPPLY if excess[p] > 0 else FREE if excess[p] == 0 else ROOT


@inlined
def start_pixel(p, offsets, labels, pairs, weights, modular, inc, arcs):
    """Set ``inc`` and ``arcs`` of p for zero flow; returns the unary part of its four pairs."""
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
    """Set ``excess`` to ``unary`` where the label is 0, else to 0: only leaving 0 costs it."""
    for i in range(len(labels)):
        excess[i] = unary[i] if labels[i] == 0 else 0


@step
def add_one(labels):
    """Add one to a run of labels."""
    for i in range(len(labels)):
        labels[i] += 1


@step
def mark_changes(label, left, right, above, below, pairs, marks):
    """Mark pixels of a run with an ordered pair or a neighbour of another label."""
    for i in range(len(marks)):
        found = np.int32((label[i] ^ left[i]) | (label[i] ^ right[i]))
        found = np.int32(found | (label[i] ^ above[i]) | (label[i] ^ below[i]) | pairs[i])
        marks[i] = found != np.int32(0)


@step
def list_marks(marks, words, start, places, count):
    """Append the indices of the marked pixels of the run that begins at ``start`` to ``places``.

    Args:
        marks: uint8, one for each pixel; words: the same memory, and perhaps more, as int64.
        start: index of the first pixel.
        places: output, uint32, with room for one entry more.
        count: number of entries already in ``places``.

    Returns:
        The new number of entries.
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
    """Write ``inc``, ``arcs`` and ``excess`` of row y for zero flow in a jump from ``labels``.

    Most pixels have the labels of their neighbours and no ordered pair, hence the same arcs: the
    row is filled with these, then the other pixels are written one by one. ``marks``, ``words``
    (see :func:`list_marks`) and ``places`` are memory for one row.
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
    """Write the nodes of a run of pixels outside the tree; returns how many are ROOT.

    ``sign``: 1, or -1 to swap supplies and demands.
    """
    num_roots = 0
    for i in range(len(node)):
        amount = sign * excess[i]
        node[i] = ROOT if amount < 0 else SUPPLY if amount > 0 else FREE
        num_roots += amount < 0
    return num_roots


@step
def mark_growing(excess, left, right, above, below, sign, marks):
    """Mark the roots of a run of pixels that have a neighbour that is not a root.

    The tree cannot grow from the other roots. ``left``, ``right``, ``above``, ``below``: the excess
    of the neighbours.
    """
    for i in range(len(marks)):
        inner = (sign * left[i] < 0) & (sign * right[i] < 0)
        inner &= (sign * above[i] < 0) & (sign * below[i] < 0)
        marks[i] = (sign * excess[i] < 0) & (not inner)


@kernel
def find_roots(shape, stride, excess, node, marks, words, queue, sign):
    """Write all nodes: ROOT where there is a demand, SUPPLY, or FREE.

    Args:
        marks, words: memory for a row, see :func:`list_marks`.
        queue: output, the roots that have a neighbour that is not a root.
        sign: 1, or -1 to swap supplies and demands.

    Returns:
        The number of entries in ``queue``, and the number of all roots.
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
    """Return whether any pixel of a run of nodes moves."""
    found = 0
    for i in range(len(node)):
        found |= ((node[i] & CODE) + 1) & 6  # as in :func:`moves`
    return found != 0


@step
def mark(label, left, right, above, below, pairs, node, west, east, north, south, marks):
    """Write MOVES and INNER for a run of pixels; the other arguments are its four neighbours.

    An inner pixel moves and so do its four neighbours; all five have the same label, and it has no
    ordered pair. So none of its capacities change.
    """
    for i in range(len(marks)):
        inner = moves(node[i]) & moves(west[i]) & moves(east[i]) & moves(north[i]) & moves(south[i])
        other = np.int32((label[i] ^ left[i]) | (label[i] ^ right[i]))
        other = np.int32(other | (label[i] ^ above[i]) | (label[i] ^ below[i]))
        inner &= (other == np.int32(0)) & (pairs[i] == np.uint8(0))
        marks[i] = np.uint8(moves(node[i])) * np.uint8(MOVES) | np.uint8(inner) * np.uint8(INNER)


@inlined
def end_of_moves(start, end, node):
    """Return the end of the consecutive blocks from ``start`` on in each of which a pixel moves."""
    while start < end and any_moves(node[start : min(start + BLOCK, end)]):
        start += BLOCK
    return min(start, end)


@kernel
def list_moved(stride, labels, pairs, node, marks, words, runs, rim):
    """List the pixels that move: runs of inner ones (see :func:`mark`), the others one by one.

    Args:
        marks: uint8, a multiple of BLOCK; words: the same memory as int64.
        runs: output, first pixel and end of each run of inner pixels.
        rim: output, the other pixels that move.

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
    """Write to ``moved``, bool (H, W), which pixels move."""
    height, width = moved.shape
    for y in range(height):
        row = (y + 1) * stride + 1
        for x in range(width):
            moved[y, x] = moves(node[row + x])


@kernel
def free_nodes(runs, rim, excess, node):
    """Remove the pixels that move from the tree."""
    for k in range(0, len(runs), 2):
        start, end = runs[k], runs[k + 1]
        write_nodes(excess[start:end], node[start:end], 1)
    for p in rim:
        set_node(p, excess, node)


@kernel
def energy_change(runs, rim, unary, stride, labels, pairs, weights, node):
    """Return the exact change of energy if the labels of ``runs`` and ``rim`` are raised by one.

    Inner pixels (``runs``, see :func:`list_moved`) change the unary term only.
    """
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
    """Rewrite the arcs and the excess of p and its pairs for a move in which p is raised.

    The capacities after the move replace those before, and the flow of changed arcs is cancelled.
    A pixel that leaves the background (``fresh``) starts with zero flow on all arcs: its unary cost
    is paid, and the demand that its flow satisfied no longer exists.
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
    """Rewrite arcs and excess for a move; ``labels`` and ``node`` are those before it.

    The flow of arcs whose capacity does not change is kept.
    """
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
    """Raise the labels of the pixels that move and remove them from the tree.

    Returns:
        The number of pixels with a demand among them and their neighbours, written to ``roots``.
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
    """Update ``excess`` of a run where ``labels`` become 0 (``new``) or are 0 no more."""
    for i in range(len(labels)):
        excess[i] += unary[i] * np.int32(np.int32(new[i] == 0) - np.int32(labels[i] == 0))


@step
def mark_steps(label, right, below, new, new_right, new_below, marks):
    """Mark pixels whose difference to the right or lower neighbour changes; returns if any does."""
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
    """Rewrite arcs and excess for a change of labels; ``labels`` are still those before it.

    The flow of pairs whose difference of labels changes is cancelled; all other flow is kept.

    Args:
        labels, new: int32, flat with pads.
        marks, words: memory for a row, see :func:`list_marks`.
        places: memory for all pixels.
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
