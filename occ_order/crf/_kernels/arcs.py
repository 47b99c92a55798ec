"""Costs and arcs of the jumps, and what moves by a cut (layout: :mod:`.layout`).

Indices in hot loops are unsigned: for signed ones, the compiler adds a test for negative indices.
Loops over runs of pixels take slices of the arrays and have no branches: the compiler turns them
into vector instructions, and does not for indices that it must compute.
"""

from __future__ import annotations

import numpy as np

from occ_order.crf._kernels.compile import inlined, kernel, step
from occ_order.crf._kernels.layout import CODE, FREE, ROOT, SUPPLY, Around

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
def directions(stride):
    """Return the index distances of the left, right, upper and lower neighbour."""
    return (-1, 1, -stride, stride)


@inlined
def around(array, start, end, stride):
    """Return views of the run [start, end) and of its four neighbours."""
    return Around(
        array[start:end],
        array[start - 1 : end - 1],
        array[start + 1 : end + 1],
        array[start - stride : end - stride],
        array[start + stride : end + stride],
    )


@kernel
def pack_pairs(places, grid):
    """Fill ``grid.pairs`` from the indices in :attr:`occ_order.crf.energy.Problem.pairs`."""
    height, width = grid.unary.shape
    plane = height * width
    stride, pairs = grid.stride, grid.pairs
    offsets = directions(stride)
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
        weights: see :class:`.layout.Weights`.
    """
    if step == 0:
        return weights.smoothness + weights.hard * behind
    return weights.occlusion * behind if step == -1 else 0


@inlined
def pair_cost(step, code, d, weights, modular):
    """Return the unary part of p's pair with its neighbour d: its share in the cost of raising p.

    Args:
        step: x_p - x_q, difference of the labels.
        code: pairs[p].
        d: direction of q.
        weights: see :class:`.layout.Weights`.
        modular: bound of the jump (see :mod:`occ_order.crf.moves`).
    """
    if step == 0:
        return weights.occlusion * ((code >> (4 + d) & 1) - (code >> d & 1))
    if modular and (step == 1 or step == -1):
        return weights.smoothness * step
    return 0


@inlined
def note_arc(p, d, q, residual):
    """Update ``arcs`` of both ends from ``r_cap[d, p]``; q is p's neighbour in direction d."""
    arcs = residual.arcs
    if residual.r_cap[d, p] > 0:
        arcs[p] |= 1 << d
        arcs[q] |= 16 << (d ^ 1)
    else:
        arcs[p] &= ~(1 << d)
        arcs[q] &= ~(16 << (d ^ 1))


@inlined
def set_node(p, tr_cap, node):
    """Set p's node, in no tree, to SUPPLY, FREE or ROOT by its terminal capacity."""
    node[p] = SUPPLY if tr_cap[p] > 0 else FREE if tr_cap[p] == 0 else ROOT


@inlined
def start_pixel(p, grid, residual, modular):
    """Set ``r_cap`` and ``arcs`` of p for zero flow; returns the unary part of its four pairs."""
    labels, weights, r_cap = grid.labels, grid.weights, residual.r_cap
    offsets = directions(grid.stride)
    code = grid.pairs[p]
    cost = 0
    bits = 0
    for d in range(4):
        step = labels[p] - labels[beside(p, offsets[d])]
        cost += pair_cost(step, code, d, weights, modular)
        r_cap[d, p] = capacity(step, code >> (4 + d) & 1, weights)
        bits |= (r_cap[d, p] > 0) << d
        bits |= (capacity(-step, code >> d & 1, weights) > 0) << (4 + d)
    residual.arcs[p] = bits
    return cost


@step
def start_costs(labels, unary, tr_cap):
    """Set ``tr_cap`` to ``unary`` where the label is 0, else to 0: only leaving 0 costs it."""
    for i in range(len(labels)):
        tr_cap[i] = unary[i] if labels[i] == 0 else 0


@step
def add_one(labels):
    """Add one to a run of labels."""
    for i in range(len(labels)):
        labels[i] += 1


@step
def mark_changes(labels, pairs, marks):
    """Mark pixels of a run with an ordered pair or a neighbour of another label.

    ``labels``: of the run and its neighbours (:func:`around`).
    """
    label, left, right, above, below = labels
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
def start_row(y, grid, residual, modular, places):
    """Write row y of the residual graph for zero flow in a jump from the current labels.

    Most pixels have the labels of their neighbours and no ordered pair, hence the same arcs: the
    row is filled with these, then the other pixels are written one by one. ``places`` is memory for
    one row.
    """
    labels, tr_cap, smoothness = grid.labels, residual.tr_cap, grid.weights.smoothness
    width = grid.unary.shape[1]
    row = (y + 1) * grid.stride + 1
    end = row + width
    for start in range(row, end, WIDE_BLOCK):
        for d in range(4):
            fill(residual.r_cap[d, start : min(start + WIDE_BLOCK, end)], smoothness)
    fill(residual.arcs[row:end], ALL_OPEN if smoothness > 0 else 0)
    start_costs(labels[row:end], grid.unary[y], tr_cap[row:end])
    mark_changes(around(labels, row, end, grid.stride), grid.pairs[row:end], grid.marks[:width])
    count = list_marks(grid.marks[:width], grid.words, row, places, 0)
    for k in range(count):
        p = places[k]
        tr_cap[p] += start_pixel(p, grid, residual, modular)


@step
def write_nodes(tr_cap, node, sign):
    """Write the nodes of a run of pixels in no tree; returns how many are ROOT.

    ``sign``: 1, or -1 to swap supplies and demands.
    """
    num_roots = 0
    for i in range(len(node)):
        amount = sign * tr_cap[i]
        node[i] = ROOT if amount < 0 else SUPPLY if amount > 0 else FREE
        num_roots += amount < 0
    return num_roots


@step
def mark_active(tr_cap, sign, marks):
    """Mark the roots of a run of pixels that have a neighbour that is not a root.

    The other roots are passive: the tree cannot grow from them. ``tr_cap``: of the run and its
    neighbours (:func:`around`).
    """
    here, left, right, above, below = tr_cap
    for i in range(len(marks)):
        inner = (sign * left[i] < 0) & (sign * right[i] < 0)
        inner &= (sign * above[i] < 0) & (sign * below[i] < 0)
        marks[i] = (sign * here[i] < 0) & (not inner)


@kernel
def find_roots(grid, tr_cap, active, sign):
    """Write all nodes: ROOT where there is a demand, SUPPLY, or FREE.

    Args:
        grid: its nodes are written.
        tr_cap: terminal capacities.
        active: output, the roots that have a neighbour that is not a root.
        sign: 1, or -1 to swap supplies and demands.

    Returns:
        The number of entries in ``active``, and the number of all roots.
    """
    height, width = grid.unary.shape
    stride, marks = grid.stride, grid.marks
    count = num_roots = 0
    for y in range(height):
        row = (y + 1) * stride + 1
        end = row + width
        num_here = write_nodes(tr_cap[row:end], grid.node[row:end], sign)
        if num_here:
            mark_active(around(tr_cap, row, end, stride), sign, marks[:width])
            count = list_marks(marks[:width], grid.words, row, active, count)
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
def mark(labels, pairs, nodes, marks):
    """Write MOVES and INNER for a run of pixels.

    An inner pixel moves and so do its four neighbours; all five have the same label, and it has no
    ordered pair. So none of its capacities change. ``labels``, ``nodes``: of the run and its
    neighbours (:func:`around`).
    """
    label, left, right, above, below = labels
    node, west, east, north, south = nodes
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
def list_moved(grid, moved):
    """List the pixels that move: runs of inner ones (see :func:`mark`), the others one by one.

    Returns:
        The numbers of entries in ``runs`` and in ``rim`` of ``moved``, the output.
    """
    stride, node, marks, words = grid.stride, grid.node, grid.marks, grid.words
    runs, rim = moved.runs, moved.rim
    num_runs = num_rim = 0
    start, last = stride, node.size - stride
    while start < last:
        end = end_of_moves(start, min(start + len(marks), last), node)
        if end == start:
            start += BLOCK
            continue
        mark(
            around(grid.labels, start, end, stride),
            grid.pairs[start:end],
            around(node, start, end, stride),
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
def draw_moved(grid, moved):
    """Write to ``moved``, bool (H, W), which pixels move."""
    height, width = moved.shape
    for y in range(height):
        row = (y + 1) * grid.stride + 1
        for x in range(width):
            moved[y, x] = moves(grid.node[row + x])


@kernel
def free_nodes(moved, tr_cap, node):
    """Remove the pixels that move from the tree."""
    for k in range(0, len(moved.runs), 2):
        start, end = moved.runs[k], moved.runs[k + 1]
        write_nodes(tr_cap[start:end], node[start:end], 1)
    for p in moved.rim:
        set_node(p, tr_cap, node)


@kernel
def energy_change(moved, grid):
    """Return the exact change of energy if the labels of all that moves are raised by one.

    Inner pixels (``runs``) change the unary term only.
    """
    unary, stride, labels, pairs = grid.unary, grid.stride, grid.labels, grid.pairs
    smoothness, occlusion = grid.weights.smoothness, grid.weights.occlusion
    offsets = directions(stride)
    change = 0
    for k in range(0, len(moved.runs), 2):
        start, end = moved.runs[k], moved.runs[k + 1]
        if labels[start] == 0:
            y = start // stride - 1
            first = (y + 1) * stride + 1
            for cost in unary[y, start - first : end - first]:
                change += cost
    for p in moved.rim:
        if labels[p] == 0:
            y = p // stride - 1
            change += unary[y, p - (y + 1) * stride - 1]
        for d in range(4):
            q = beside(p, offsets[d])
            if not moves(grid.node[q]) and labels[q] >= 0:
                step = labels[p] - labels[q]
                if step == 0:
                    change += smoothness - occlusion * (pairs[p] >> d & 1)
                elif step == -1:
                    change += occlusion * (pairs[p] >> (4 + d) & 1) - smoothness
    return change


@inlined
def rewrite_pixel(p, grid, residual, modular):
    """Rewrite the arcs and terminal capacities of p's pairs for a move in which p is raised.

    The capacities after the move replace those before, and the flow of changed arcs is cancelled.
    A pixel that leaves the background (``fresh``) starts with zero flow on all arcs: its unary cost
    is paid, and the demand that its flow satisfied no longer exists.
    """
    labels, pairs, weights = grid.labels, grid.pairs, grid.weights
    r_cap, arcs, tr_cap = residual
    offsets = directions(grid.stride)
    code = pairs[p]
    fresh = labels[p] == 0
    cost = 0
    for d in range(4):
        q = beside(p, offsets[d])
        moved = moves(grid.node[q])
        step = labels[p] - labels[q]
        behind = code >> (4 + d) & 1
        if moved and (labels[q] == 0 or not fresh):
            if fresh:
                cost += pair_cost(step, code, d, weights, modular)
                r_cap[d, p] = capacity(step, behind, weights)
                back = capacity(-step, code >> d & 1, weights)
                arcs[p] &= ~(17 << d)
                arcs[p] |= (r_cap[d, p] > 0) << d | (back > 0) << (4 + d)
            continue
        new_step = step + 1 - moved
        flow = capacity(step, behind, weights) - r_cap[d, p]
        cost += pair_cost(new_step, code, d, weights, modular)
        if not fresh:
            cost -= flow + pair_cost(step, code, d, weights, modular)
        r_cap[d, p] = capacity(new_step, behind, weights)
        r_cap[d ^ 1, q] = capacity(-new_step, code >> d & 1, weights)
        note_arc(p, d, q, residual)
        note_arc(q, d ^ 1, p, residual)
        other = pairs[q]
        tr_cap[q] += flow + pair_cost(-new_step, other, d ^ 1, weights, modular)
        tr_cap[q] -= pair_cost(-step, other, d ^ 1, weights, modular)
    tr_cap[p] = cost if fresh else tr_cap[p] + cost


@kernel
def rewrite(moved, grid, residual, modular):
    """Rewrite the residual graph for a move; labels and nodes are those before it.

    The flow of arcs whose capacity does not change is kept.
    """
    smoothness = grid.weights.smoothness
    default = ALL_OPEN if smoothness > 0 else 0
    for p in moved.rim:
        rewrite_pixel(p, grid, residual, modular)
    for k in range(0, len(moved.runs), 2):
        start, end = moved.runs[k], moved.runs[k + 1]
        if grid.labels[start] == 0:
            for d in range(4):
                fill(residual.r_cap[d, start:end], smoothness)
            fill(residual.arcs[start:end], default)
            fill(residual.tr_cap[start:end], 0)


@kernel
def raise_labels(moved, grid, tr_cap, roots):
    """Raise the labels of the pixels that move and remove them from the tree.

    Returns:
        The number of pixels with a demand among them and their neighbours, written to ``roots``.
    """
    labels, node = grid.labels, grid.node
    runs, rim = moved.runs, moved.rim
    offsets = directions(grid.stride)
    num_roots = 0
    for p in rim:
        for d in range(4):
            q = beside(p, offsets[d])
            if not moves(node[q]):
                set_node(q, tr_cap, node)
                if tr_cap[q] < 0:
                    roots[num_roots] = q
                    num_roots += 1
    for p in rim:
        labels[p] += 1
        set_node(p, tr_cap, node)
        if tr_cap[p] < 0:
            roots[num_roots] = p
            num_roots += 1
    for k in range(0, len(runs), 2):
        start, end = runs[k], runs[k + 1]
        add_one(labels[start:end])
        if write_nodes(tr_cap[start:end], node[start:end], 1):
            for p in range(start, end):
                if node[p] == ROOT:
                    roots[num_roots] = p
                    num_roots += 1
    return num_roots


@step
def change_costs(labels, new, unary, tr_cap):
    """Update ``tr_cap`` of a run where ``labels`` become 0 (``new``) or are 0 no more."""
    for i in range(len(labels)):
        tr_cap[i] += unary[i] * np.int32(np.int32(new[i] == 0) - np.int32(labels[i] == 0))


@step
def mark_steps(labels, new_labels, marks):
    """Mark pixels whose difference to the right or lower neighbour changes; returns if any does.

    ``labels``, ``new_labels``: of a run and its neighbours (:func:`around`).
    """
    label, _, right, _, below = labels
    new, _, new_right, _, new_below = new_labels
    anything = np.int32(0)
    for i in range(len(marks)):
        change = np.int32(new[i] - label[i])
        found = np.int32(np.int32(new_right[i] - right[i]) ^ change)
        found = np.int32(found | np.int32(np.int32(new_below[i] - below[i]) ^ change))
        marks[i] = found != np.int32(0)
        anything = np.int32(anything | found)
    return anything != 0


@kernel
def relabel(new, grid, residual, modular, places):
    """Rewrite the residual graph for a change of labels; those in ``grid`` are still the old ones.

    The flow of pairs whose difference of labels changes is cancelled; all other flow is kept.

    Args:
        new: int32, flat with pads.
        grid: the CRF.
        residual: changed in place.
        modular: bound of the jump.
        places: memory for all pixels.
    """
    labels, pairs, weights = grid.labels, grid.pairs, grid.weights
    r_cap, tr_cap = residual.r_cap, residual.tr_cap
    height, width = grid.unary.shape
    stride, marks = grid.stride, grid.marks[: grid.unary.shape[1]]
    offsets = directions(stride)
    count = 0
    for y in range(height):
        row = (y + 1) * stride + 1
        end = row + width
        change_costs(labels[row:end], new[row:end], grid.unary[y], tr_cap[row:end])
        if mark_steps(around(labels, row, end, stride), around(new, row, end, stride), marks):
            count = list_marks(marks, grid.words, row, places, count)
    for k in range(count):
        p = places[k]
        for d in (1, 3):
            q = beside(p, offsets[d])
            step = labels[p] - labels[q]
            new_step = new[p] - new[q]
            if step == new_step:
                continue
            front, behind = pairs[p] >> d & 1, pairs[p] >> (4 + d) & 1
            flow = capacity(step, behind, weights) - r_cap[d, p]
            tr_cap[p] += pair_cost(new_step, pairs[p], d, weights, modular) - flow
            tr_cap[p] -= pair_cost(step, pairs[p], d, weights, modular)
            tr_cap[q] += pair_cost(-new_step, pairs[q], d ^ 1, weights, modular) + flow
            tr_cap[q] -= pair_cost(-step, pairs[q], d ^ 1, weights, modular)
            r_cap[d, p] = capacity(new_step, behind, weights)
            r_cap[d ^ 1, q] = capacity(-new_step, front, weights)
            note_arc(p, d, q, residual)
            note_arc(q, d ^ 1, p, residual)
