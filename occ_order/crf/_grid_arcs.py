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

Sending flow rewrites the energy function without changing its values, so the labels may change
under a flow: arcs that stay the same keep what they carry, others give it back.
"""

from __future__ import annotations

from occ_order.crf import _compile
from occ_order.crf._compile import kernel

FREE, ROOT, ORPHAN, SUPPLY = 0, 5, 6, 7
TIE = ORPHAN  # what moves on a tie; there are no orphans any more by then
CODE = 7  # mask of a node's code
ALL_OPEN = 255
BLOCK = 64  # pixels that are looked at together

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
def moves(word):
    """Does the pixel of this node move, after the maximum flow?"""
    return ((word & CODE) + 1) & 6 != 0  # neither FREE nor SUPPLY


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
        step = labels[p] - labels[p + offsets[d]]
        cost += pair_cost(step, code, d, weights, modular)
        inc[d, p] = capacity(step, code >> (4 + d) & 1, weights)
        bits |= (inc[d, p] > 0) << d
        bits |= (capacity(-step, code >> d & 1, weights) > 0) << (4 + d)
    arcs[p] = bits
    return cost


@step
def clear_foreground(labels, excess):
    """Set ``excess`` to 0 where the label is not: leaving the background costs only once."""
    for i in range(len(labels)):
        excess[i] = excess[i] if labels[i] == 0 else 0


@step
def differ(labels, others):
    """Do two stretches of labels differ?"""
    found = 0
    for i in range(len(labels)):
        found |= labels[i] ^ others[i]
    return found != 0


@step
def is_plain(start, end, stride, labels, pairs):
    """Is there neither a pair nor a change of labels at the pixels from start to end?"""
    found = 0
    for i in range(start, end):
        found |= pairs[i]
    here = labels[start:end]
    return not (
        found
        or differ(here, labels[start - 1 : end - 1])
        or differ(here, labels[start + 1 : end + 1])
        or differ(here, labels[start - stride : end - stride])
        or differ(here, labels[start + stride : end + stride])
    )


@kernel
def initialise(unary, stride, labels, pairs, weights, modular, inc, arcs, excess):
    """Arcs and costs of a jump from ``labels``, without any flow."""
    height, width = unary.shape
    offsets = (-1, 1, -stride, stride)
    smoothness = weights[0]
    default = ALL_OPEN if smoothness > 0 else 0
    for y in range(height):
        row = (y + 1) * stride + 1
        for d in range(4):
            inc[d, row : row + width] = smoothness
        arcs[row : row + width] = default
        excess[row : row + width] = unary[y]
        for start in range(row, row + width, BLOCK):
            end = min(start + BLOCK, row + width)
            clear_foreground(labels[start:end], excess[start:end])
            if is_plain(start, end, stride, labels, pairs):
                continue
            for p in range(start, end):
                if pairs[p] or not same_around(p, stride, labels):
                    excess[p] += start_pixel(p, offsets, labels, pairs, weights, modular, inc, arcs)


@step
def write_nodes(excess, node, sign):
    """The nodes of one row; is there a ROOT?"""
    any_root = False
    for i in range(len(node)):
        amount = sign * excess[i]
        node[i] = ROOT if amount < 0 else SUPPLY if amount > 0 else FREE
        any_root |= amount < 0
    return any_root


@kernel
def find_roots(shape, stride, excess, node, queue, sign):
    """Write all nodes: ROOT where there is a demand, SUPPLY, or FREE.

    Args:
        sign: 1, or -1 to change supplies and demands over.

    Returns:
        The number of roots with a neighbour that is none, in ``queue``: the others cannot grow.
    """
    height, width = shape
    count = 0
    for y in range(height):
        row = (y + 1) * stride + 1
        if not write_nodes(excess[row : row + width], node[row : row + width], sign):
            continue
        for p in range(row, row + width):
            if node[p] == ROOT:
                queue[count] = p
                count += (
                    sign * excess[p - 1] >= 0
                    or sign * excess[p + 1] >= 0
                    or sign * excess[p - stride] >= 0
                    or sign * excess[p + stride] >= 0
                )
    return count


@step
def any_moves(node):
    """Does a pixel of this stretch move?"""
    found = 0
    for i in range(len(node)):
        found |= ((node[i] & CODE) + 1) & 6  # as in :func:`moves`
    return found != 0


@inlined
def is_inner(p, stride, labels, pairs, node):
    """Do p's neighbours all have p's label and move as well, and are there no ordered pairs?"""
    label = labels[p]
    return (
        (pairs[p] == 0)
        & moves(node[p - 1])
        & moves(node[p + 1])
        & moves(node[p - stride])
        & moves(node[p + stride])
        & (labels[p - 1] == label)
        & (labels[p + 1] == label)
        & (labels[p - stride] == label)
        & (labels[p + stride] == label)
    )


@kernel
def list_moved(stride, labels, pairs, node, moved, rim):
    """List all pixels that move, and in ``rim`` those among them that are not inner.

    Returns:
        The two numbers.
    """
    count = num_rim = 0
    for start in range(0, node.size, BLOCK):
        end = min(start + BLOCK, node.size)
        if not any_moves(node[start:end]):
            continue
        for p in range(start, end):
            if moves(node[p]):
                moved[count] = p
                count += 1
                rim[num_rim] = p
                num_rim += not is_inner(p, stride, labels, pairs, node)
    return count, num_rim


@kernel
def free_nodes(moved, excess, node):
    """Take ``moved`` out of the tree."""
    for p in moved:
        set_node(p, excess, node)


@kernel
def energy_change(moved, rim, unary, stride, labels, pairs, weights, node):
    """Exact change of energy if all of ``moved`` go up by one; ``rim``: see :func:`list_moved`."""
    offsets = (-1, 1, -stride, stride)
    smoothness, occlusion = weights[0], weights[1]
    change = 0
    y, row = 0, stride
    for p in moved:
        while p >= row + stride:
            row += stride
            y += 1
        if labels[p] == 0:
            change += unary[y, p - row - 1]
    for p in rim:
        for d in range(4):
            q = p + offsets[d]
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
        q = p + offsets[d]
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
def rewrite(moved, rim, stride, labels, pairs, weights, modular, inc, arcs, excess, node):
    """Bring arcs, costs and flow up to date with a move of ``moved``, from before it is made."""
    offsets = (-1, 1, -stride, stride)
    smoothness = weights[0]
    default = ALL_OPEN if smoothness > 0 else 0
    k = 0
    for p in moved:
        if k < len(rim) and rim[k] == p:
            k += 1
            rewrite_pixel(p, offsets, labels, pairs, weights, modular, inc, arcs, excess, node)
        elif labels[p] == 0:
            for d in range(4):
                inc[d, p] = smoothness
            arcs[p] = default
            excess[p] = 0


@kernel
def raise_labels(moved, rim, stride, labels, excess, node, roots):
    """Make a move, and free the tree.

    Returns:
        The number of pixels with a demand, all in ``roots`` and ROOT.
    """
    offsets = (-1, 1, -stride, stride)
    num_roots = 0
    for p in rim:
        for d in range(4):
            q = p + offsets[d]
            if not moves(node[q]):
                set_node(q, excess, node)
                if excess[q] < 0:
                    roots[num_roots] = q
                    num_roots += 1
    for p in moved:
        labels[p] += 1
        set_node(p, excess, node)
        if excess[p] < 0:
            roots[num_roots] = p
            num_roots += 1
    return num_roots


@kernel
def relabel(unary, labels, new, stride, pairs, weights, modular, inc, arcs, excess):
    """Bring arcs, costs and flow up to date with a change of labels, from before it is made.

    Pairs of which one label changes, or both but differently, give back their flow.

    Args:
        labels: int32, flat with pads; new: int32 (H, W).
    """
    height, width = unary.shape
    offsets = (-1, 1, -stride, stride)
    for y in range(height):
        for x in range(width):
            p = (y + 1) * stride + x + 1
            change = new[y, x] - labels[p]
            excess[p] += unary[y, x] * ((new[y, x] == 0) - (labels[p] == 0))
            for d in (1, 3):
                y_q, x_q = y + (d == 3), x + (d == 1)
                if y_q == height or x_q == width:
                    continue
                q = p + offsets[d]
                change_q = new[y_q, x_q] - labels[q]
                if change == change_q:
                    continue
                step = labels[p] - labels[q]
                new_step = step + change - change_q
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
