"""Connected components of a labelling and the contacts between them, in a few passes."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from occ_order.crf._kernels.compile import allocating_kernel, inlined, step

BLOCK = 64  # pixels that are looked at together
START, END, PARENT, LABEL = 0, 1, 2, 3  # what a run holds: columns, number of a run it is joined to


class Row(NamedTuple):
    """A row of the image; where nothing is cut, the four cuts are empty."""

    labels: np.ndarray
    """int32 (W,)."""
    inside: np.ndarray
    """bool (W,), pixels that belong to a component."""
    left: np.ndarray
    """bool (W,), the pixel does not connect to its left neighbour."""
    right: np.ndarray
    """bool (W,), the same to the right."""
    top: np.ndarray
    """bool (W,), the same to the row before."""
    bottom: np.ndarray
    """bool (W,), the row before does not connect to this one."""


@inlined
def find(runs, k):
    """Return the first run that run k is joined to; shortens the way there."""
    while runs[k, PARENT] != k:
        runs[k, PARENT] = runs[runs[k, PARENT], PARENT]
        k = runs[k, PARENT]
    return k


@step
def is_one_run(labels, inside, label):
    """Are all pixels of this stretch inside, with this label?"""
    found = 0
    for i in range(len(labels)):
        found |= labels[i] ^ label
        found |= inside[i] ^ True
    return found == 0


@step
def any_cut(left, right):
    """Is anything cut in this stretch?"""
    found = False
    for i in range(len(left)):
        found |= left[i] | right[i]
    return found


@inlined
def run_end(start, row):
    """Return the end of the run of connected pixels that starts at ``start`` of this row."""
    labels, inside, left, right = row.labels, row.inside, row.left, row.right
    cuts = len(left) > 0
    end = start + 1
    while end + BLOCK <= len(labels) and is_one_run(
        labels[end : end + BLOCK], inside[end : end + BLOCK], labels[start]
    ):
        if cuts and any_cut(left[end : end + BLOCK], right[end - 1 : end + BLOCK - 1]):
            break
        end += BLOCK
    while end < len(labels) and labels[end] == labels[start] and inside[end]:
        if cuts and (left[end] or right[end - 1]):
            break
        end += 1
    return end


@inlined
def is_open(start, end, top, bottom):
    """Is a column of this stretch not cut? ``top``, ``bottom``: where it is, or empty."""
    if len(top) == 0:
        return True
    while start < end and (top[start] or bottom[start]):
        start += 1
    return start < end


@step
def add_runs(row, runs, above, first):
    """Append the runs of a row, joined to those of the row before, which start at ``above``.

    ``first``: number of runs before this row.

    Returns:
        The number of runs.
    """
    labels = row.labels
    used = first
    x = 0
    while x < len(labels):
        if not row.inside[x]:
            x += 1
            continue
        end = run_end(x, row)
        runs[used, START], runs[used, END] = x, end
        runs[used, PARENT], runs[used, LABEL] = used, labels[x]
        while above < first and runs[above, END] <= x:
            above += 1
        k = above
        while k < first and runs[k, START] < end:
            if runs[k, LABEL] == labels[x] and is_open(
                max(x, runs[k, START]), min(end, runs[k, END]), row.top, row.bottom
            ):
                a, b = find(runs, k), find(runs, used)
                runs[max(a, b), PARENT] = min(a, b)
            k += 1
        used += 1
        x = end
    return used


@allocating_kernel
def label_components(labels, inside, cut, ids):
    """Write 4-connected components of equal labels to ``ids``, from 1 in reading order.

    Args:
        labels: int32 (H, W).
        inside: bool (H, W); other pixels get 0.
        cut: bool (4, H, W), or (4, 0, 0) for none: neighbours that do not connect.
        ids: int32 (H, W), filled in.

    Returns:
        The number of components.
    """
    height, width = labels.shape
    cuts = cut.size > 0
    none = np.zeros(0, np.bool_)  # a row without cuts
    runs = np.empty((labels.size // 16 + width, 4), np.int32)
    rows = np.empty(height + 1, np.int64)  # number of runs before each row
    used = above = 0
    for y in range(height):
        rows[y] = used
        if used + width > len(runs):
            runs = np.concatenate((runs, np.empty_like(runs)))
        left = right = top = bottom = none
        if cuts:
            left, right = cut[0, y], cut[1, y]
            top, bottom = cut[2, y], cut[3, max(y - 1, 0)]
        row = Row(labels[y], inside[y], left, right, top, bottom)
        used = add_runs(row, runs, above, rows[y])
        above = rows[y]
    rows[height] = used
    count = 0
    for y in range(height):
        ids[y] = 0
        for k in range(rows[y], rows[y + 1]):
            before = runs[k, PARENT]  # among the runs that have their number already, or k
            if before == k:
                count += 1
                runs[k, LABEL] = count
            else:
                runs[k, LABEL] = runs[before, LABEL]
            ids[y, runs[k, START] : runs[k, END]] = runs[k, LABEL]
    return count


@step
def differ_around(ids, right, below):
    """Is there a contact between regions in this stretch, or to its right or below?"""
    found = 0
    for i in range(len(ids)):
        found |= (ids[i] ^ right[i]) | (ids[i] ^ below[i])
    return found != 0


@inlined
def count_contact(a, b, front, behind, contacts, place, used):
    """Count one pair of pixels in contact; returns the new number of rows of ``contacts``."""
    if a > b:
        a, b, front, behind = b, a, behind, front
    slot = (a & 15) << 4 | (b & 15)
    k = place[slot]
    if contacts[k, 0] != a or contacts[k, 1] != b:
        k = place[slot] = used
        contacts[k, 0], contacts[k, 1] = a, b
        used += 1
    contacts[k, 2] += 1
    contacts[k, 3] += front
    contacts[k, 4] += behind
    return used


@step
def count_contacts(ids, below, orders, orders_below, least, contacts, place, used):
    """Count the contacts of a stretch, and those to its right and below."""
    for x in range(len(below)):
        here = ids[x]
        if here < least:
            continue
        if x + 1 < len(ids) and ids[x + 1] != here and ids[x + 1] >= least:
            front, behind = orders[1, x], orders[0, x + 1]
            used = count_contact(here, ids[x + 1], front, behind, contacts, place, used)
        if below[x] != here and below[x] >= least:
            front, behind = orders[3, x], orders_below[2, x]
            used = count_contact(here, below[x], front, behind, contacts, place, used)
    return used


@allocating_kernel
def list_contacts(ids, occludes, least):
    """Contacts between the regions from ``least`` on, each pair of pixels counted once.

    Returns:
        int64 (E, 5): region, neighbour, pairs of pixels in contact, pairs of which the region
        occludes the neighbour, and the other way round. The region has the smaller number. The same
        two regions may come several times.
    """
    height, width = ids.shape
    contacts = np.zeros((4 * BLOCK, 5), np.int64)
    used = 0
    place = np.zeros(256, np.int64)  # where two regions were found last, by their numbers mod 16
    for y in range(height):
        z = min(y + 1, height - 1)  # the last row has no contacts below: it is compared with itself
        for start in range(0, width, BLOCK):
            end = min(start + BLOCK, width)
            further = min(end + 1, width)
            here, below = ids[y, start:further], ids[z, start:end]
            if end < width and not differ_around(here[:-1], here[1:], below):
                continue
            if used + 2 * BLOCK > len(contacts):
                contacts = np.concatenate((contacts, np.zeros_like(contacts)))
            orders = occludes[:, y, start:further]
            orders_below = occludes[:, z, start:end]
            used = count_contacts(here, below, orders, orders_below, least, contacts, place, used)
    return contacts[:used]


@allocating_kernel
def sort_by(keys, num, order):
    """``order``, stably sorted by ``keys[order]`` in 0..num - 1."""
    start = np.zeros(num + 1, np.int64)
    for k in order:
        start[keys[k] + 1] += 1
    for key in range(num):
        start[key + 1] += start[key]
    result = np.empty_like(order)
    for k in order:
        result[start[keys[k]]] = k
        start[keys[k]] += 1
    return result


@allocating_kernel
def region_contacts(ids, occludes, num, least):
    """Return arrays of :class:`occ_order.crf.regions.RegionGraph` but the last, of ``num`` regions.

    Regions below ``least`` have none.
    """
    once = list_contacts(ids, occludes, least)
    twice = np.concatenate((once, once[:, np.array([1, 0, 2, 4, 3])]))
    by_both = sort_by(twice[:, 0], num, sort_by(twice[:, 1], num, np.arange(len(twice))))
    start = np.zeros(num + 1, np.int64)
    columns = np.zeros((4, len(twice)), np.int64)  # neighbour, length, front, behind
    last, count = -1, 0
    for k in by_both:
        if last < 0 or twice[k, 0] != twice[last, 0] or twice[k, 1] != twice[last, 1]:
            columns[0, count] = twice[k, 1]
            start[twice[k, 0] + 1] += 1
            count += 1
        for i in range(1, 4):
            columns[i, count - 1] += twice[k, i + 1]
        last = k
    for r in range(num):
        start[r + 1] += start[r]
    return start, columns[:, :count]


@allocating_kernel
def sum_by_region(ids, values, num):
    """Sum of ``values`` int32 (H, W) over each of ``num`` regions, int64."""
    total = np.zeros(num, np.int64)
    for y in range(ids.shape[0]):
        last = part = 0  # memory is asked once a run
        for x in range(ids.shape[1]):
            if ids[y, x] != last:
                total[last] += part
                part = 0
                last = ids[y, x]
            part += values[y, x]
        if ids.shape[1]:
            total[last] += part
    return total


@allocating_kernel
def value_by_region(ids, values, num):
    """Return the value of each of ``num`` regions, int64; ``values`` (H, W) are constant there."""
    result = np.zeros(num, np.int64)
    for y in range(ids.shape[0]):
        last = -1
        for x in range(ids.shape[1]):
            if ids[y, x] != last:
                last = ids[y, x]
                result[last] = values[y, x]
    return result


@allocating_kernel
def spread_by_region(ids, value):
    """Return the value of its region at each pixel, int32 (H, W); ``value``: int64 (R,)."""
    result = np.empty(ids.shape, np.int32)
    for y in range(ids.shape[0]):
        for x in range(ids.shape[1]):
            result[y, x] = value[ids[y, x]]
    return result


@allocating_kernel
def revert_violations(pairs, labels, proposal):
    """Give pixels of violated pairs in ``proposal`` their label back, until there is none.

    ``pairs``: :attr:`occ_order.crf.energy.Problem.pairs`. In every round the pixels of all pairs
    that are violated then go back together.
    """
    height, width = labels.shape
    plane = height * width
    old, new = labels.reshape(plane), proposal.reshape(plane)
    offsets = (-1, 1, -width, width)
    violated = np.empty(2 * len(pairs), np.int64)
    found = 1
    while found:
        found = 0
        for i in pairs:
            p = i % plane
            q = p + offsets[i // plane]
            if new[p] < new[q]:
                violated[found], violated[found + 1] = p, q
                found += 2
        for k in range(found):
            new[violated[k]] = old[violated[k]]
