"""Flow along the rows and the columns of the grid, before any search for paths.

Most supplies have a demand in their own row or column, behind pixels of one instance. These sweeps
bring them together in the order of memory; the search (:mod:`.flow`) is left with the others. Any
valid flow will do to start from: the minimum cut with the fewest pixels is the same for all.
Layout: :mod:`.layout`.
"""

from __future__ import annotations

from occ_order.crf._kernels.arcs import BLOCK, beside, note_arc, start_row
from occ_order.crf._kernels.compile import inlined, kernel, step

STRIP = 128  # columns swept together: their arcs and amounts fit a second-level cache


@inlined
def usable(left, limit):
    """Return the flow a sweep may push through an arc: a hard arc keeps at least ``limit``."""
    return left - limit if left >= limit else left


@step
def has_demand(tr_cap):
    """Return whether any terminal capacity of a run is negative."""
    lowest = 0
    for i in range(len(tr_cap)):
        lowest = min(lowest, tr_cap[i])
    return lowest < 0


@step
def sweep_line(first, length, step, d, limit, residual, wanted):
    """Push supplies along one line of pixels in direction d to the demands on it.

    The line is ``first, first + step, ...``. From each demand, a backward pass computes the flow
    that each pixel before it should pass on (``wanted``), limited by the capacities; a forward pass
    then pushes it.
    """
    r_cap, tr_cap = residual.r_cap, residual.tr_cap
    end = length - 1
    while end > 0:
        p = beside(first, end * step)
        if tr_cap[p] >= 0:
            low = min(p, beside(p, (1 - BLOCK) * step))
            full = end % BLOCK == BLOCK - 1
            end -= BLOCK if full and not has_demand(tr_cap[low : low + BLOCK]) else 1
            continue
        i = end
        need = -tr_cap[p]
        while i > 0 and need > 0:
            need = min(need, usable(r_cap[d ^ 1, p], limit))
            if need <= 0:
                break
            i -= 1
            p = beside(p, -step)
            wanted[i] = need
            need -= tr_cap[p]
        for j in range(i, end):
            p = beside(first, j * step)
            if tr_cap[p] > 0:
                flow = min(tr_cap[p], wanted[j])
                q = beside(p, step)
                tr_cap[p] -= flow
                tr_cap[q] += flow
                left = r_cap[d ^ 1, q] - flow
                back = r_cap[d, p]
                r_cap[d ^ 1, q] = left
                r_cap[d, p] = back + flow
                if left == 0:
                    note_arc(q, d ^ 1, p, residual)
                if back == 0:
                    note_arc(p, d, q, residual)
        end = i if i < end else end - 1


@step
def ask_row(tr_cap, carry, limit, wanted, asked):
    """Backward pass: compute the flow that each pixel of a row wants from the row before it.

    Args:
        tr_cap: terminal capacities of the row.
        carry: residual capacities of the arcs into the row.
        limit: see :func:`usable`.
        wanted: flow that the next row wants from this one.
        asked: output, flow that this row wants.

    Returns:
        Whether any of it is positive.
    """
    anything = 0
    for i in range(len(tr_cap)):
        need = max(wanted[i] - tr_cap[i], 0)
        left = carry[i]
        need = min(need, left - limit if left >= limit else left)
        asked[i] = need
        anything |= need
    return anything != 0


@step
def send_row(tr_cap, next_tr_cap, carry, back, wanted):
    """Forward pass: push the wanted flow to the next row; returns if an arc bit changes."""
    changed = 0
    for i in range(len(tr_cap)):
        flow = max(min(tr_cap[i], wanted[i]), 0)
        tr_cap[i] -= flow
        next_tr_cap[i] += flow
        changed |= (flow > 0) & ((back[i] == 0) | (carry[i] == flow))
        carry[i] -= flow
        back[i] += flow
    return changed != 0


@step
def sweep_strip(first, height, width, step, d, limit, residual, wanted):
    """:func:`sweep_line` for ``width`` columns at once, row by row, which suits the memory.

    ``first`` is the left pixel of the row from which flow starts. ``wanted`` holds ``width`` values
    for each row, and behind them for each row whether it wants anything.
    """
    r_cap, tr_cap = residual.r_cap, residual.tr_cap
    flags = height * width
    wanted[flags + height - 1] = 0
    wanted[flags - width : flags] = 0
    for r in range(height - 1, 0, -1):
        row = first + r * step
        if wanted[flags + r] == 0 and not has_demand(tr_cap[row : row + width]):
            wanted[flags + r - 1] = 0
            wanted[(r - 1) * width : r * width] = 0
            continue
        wanted[flags + r - 1] = ask_row(
            tr_cap[row : row + width],
            r_cap[d ^ 1, row : row + width],
            limit,
            wanted[r * width : (r + 1) * width],
            wanted[(r - 1) * width : r * width],
        )
    for r in range(height - 1):
        if wanted[flags + r] == 0:
            continue
        row = first + r * step
        after = row + step
        changed = send_row(
            tr_cap[row : row + width],
            tr_cap[after : after + width],
            r_cap[d ^ 1, after : after + width],
            r_cap[d, row : row + width],
            wanted[r * width : (r + 1) * width],
        )
        if changed:
            for x in range(width):
                p, q = beside(row, x), beside(after, x)
                note_arc(p, d, q, residual)
                note_arc(q, d ^ 1, p, residual)


@kernel
def initialise(grid, residual, modular, places, wanted):
    """Arcs, costs and flow of a jump from the current labels: along the rows, then the columns.

    Args:
        grid: the CRF.
        residual: output.
        modular: bound of the jump.
        places: memory for a row; wanted: int32 or int64, room for all pixels and rows.
    """
    height, width = grid.unary.shape
    stride, limit = grid.stride, grid.weights.limit
    for y in range(height):
        start_row(y, grid, residual, modular, places)
        row = (y + 1) * stride + 1
        if has_demand(residual.tr_cap[row : row + width]):
            sweep_line(row, width, 1, 1, limit, residual, wanted)
            sweep_line(row + width - 1, width, -1, 0, limit, residual, wanted)
    for x in range(0, width, STRIP):
        columns = min(STRIP, width - x)
        top = stride + 1 + x
        bottom = top + (height - 1) * stride
        sweep_strip(top, height, columns, stride, 3, limit, residual, wanted)
        sweep_strip(bottom, height, columns, -stride, 2, limit, residual, wanted)
