"""Connected components of a labelling and the contacts between them, in a few passes."""

from __future__ import annotations

import numpy as np

from occ_order.crf._compile import allocating_kernel, inlined


@inlined
def find(parent, k):
    """Root of k; halves its path."""
    while parent[k] != k:
        parent[k] = parent[parent[k]]
        k = parent[k]
    return k


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
    parent = np.empty(labels.size // 2 + 2, np.int32)  # of provisional numbers; no two adjoin
    used = 0
    for y in range(height):
        end = 0
        for start in range(width):
            if start < end:
                continue  # part of the last run
            if not inside[y, start]:
                ids[y, start] = 0
                continue
            end = start + 1
            label = labels[y, start]
            while end < width and labels[y, end] == label and inside[y, end]:
                if cuts and (cut[0, y, end] or cut[1, y, end - 1]):
                    break
                end += 1
            k = last = 0
            for x in range(start, end if y else start):
                above = ids[y - 1, x]
                if above in (0, last) or labels[y - 1, x] != label:
                    continue
                if cuts and (cut[2, y, x] or cut[3, y - 1, x]):
                    continue
                last = above
                if k == 0:
                    k = above
                elif above != k:
                    a, b = find(parent, above), find(parent, k)
                    k = min(a, b)
                    parent[max(a, b)] = k
            if k == 0:
                used += 1
                if used == len(parent):  # cuts can make every pixel a component
                    parent = np.concatenate((parent, np.empty_like(parent)))
                parent[used] = k = used
            ids[y, start:end] = k
    parent[0] = 0
    count = 0
    for k in range(1, used + 1):
        if parent[k] == k:
            count += 1
            parent[k] = count
        else:
            parent[k] = parent[parent[k]]
    for y in range(height):
        for x in range(width):
            ids[y, x] = parent[ids[y, x]]
    return count


@allocating_kernel
def list_contacts(ids, occludes):
    """All pairs of neighbouring pixels in different regions, from both sides.

    Returns:
        int32 (E,) region, neighbour; int8 (E,): whether a pixel of the region occludes that of the
        neighbour (1), the other way round (2), both (3), or neither.
    """
    height, width = ids.shape
    count = 0
    for y in range(height):
        for x in range(width):
            count += x + 1 < width and ids[y, x] != ids[y, x + 1]
            count += y + 1 < height and ids[y, x] != ids[y + 1, x]
    region = np.empty(2 * count, np.int32)
    neighbour = np.empty(2 * count, np.int32)
    order = np.empty(2 * count, np.int8)
    k = 0
    for y in range(height):
        for x in range(width):
            for d in (1, 3):
                y_q, x_q = y + (d == 3), x + (d == 1)
                if y_q == height or x_q == width or ids[y, x] == ids[y_q, x_q]:
                    continue
                front, behind = occludes[d, y, x], occludes[d ^ 1, y_q, x_q]
                region[k], neighbour[k] = ids[y, x], ids[y_q, x_q]
                region[k + 1], neighbour[k + 1] = ids[y_q, x_q], ids[y, x]
                order[k], order[k + 1] = front + 2 * behind, behind + 2 * front
                k += 2
    return region, neighbour, order


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
def region_contacts(ids, occludes, num):
    """The arrays of :class:`occ_order.crf.regions.RegionGraph` but the last, of ``num`` regions."""
    region, neighbour, order = list_contacts(ids, occludes)
    by_both = sort_by(region, num, sort_by(neighbour, num, np.arange(len(region))))
    start = np.zeros(num + 1, np.int64)
    columns = np.zeros((4, len(region)), np.int64)  # neighbour, length, front, behind
    last, count = -1, 0
    for k in by_both:
        if last < 0 or region[k] != region[last] or neighbour[k] != neighbour[last]:
            columns[0, count] = neighbour[k]
            start[region[k] + 1] += 1
            count += 1
        columns[1, count - 1] += 1
        columns[2, count - 1] += order[k] & 1
        columns[3, count - 1] += order[k] >> 1
        last = k
    for r in range(num):
        start[r + 1] += start[r]
    return start, columns[:, :count]


@allocating_kernel
def sum_by_region(ids, values, num):
    """Sum of ``values`` int32 (H, W) over each of ``num`` regions, int64."""
    total = np.zeros(num, np.int64)
    for y in range(ids.shape[0]):
        for x in range(ids.shape[1]):
            total[ids[y, x]] += values[y, x]
    return total


@allocating_kernel
def value_by_region(ids, values, num):
    """The value of each of ``num`` regions, int64; ``values`` int32 (H, W) is equal within each."""
    result = np.zeros(num, np.int64)
    for y in range(ids.shape[0]):
        for x in range(ids.shape[1]):
            result[ids[y, x]] = values[y, x]
    return result


@allocating_kernel
def revert_violations(occludes, words, labels, proposal):
    """Give pixels of violated pairs in ``proposal`` their label back, until there is none.

    ``words``: the memory of ``occludes`` as uint64, but its last few bytes. In every round the
    pixels of all pairs that are violated then go back together.
    """
    height, width = labels.shape
    plane = height * width
    flat, old, new = occludes.reshape(4 * plane), labels.reshape(plane), proposal.reshape(plane)
    offsets = (-1, 1, -width, width)
    pairs = np.empty(np.count_nonzero(flat), np.int64)
    count = i = 0
    while i < 4 * plane:
        if i & 7 == 0 and i >> 3 < words.size and words[i >> 3] == 0:
            i += 8
            continue
        if flat[i]:
            pairs[count] = i
            count += 1
        i += 1
    violated = np.empty(2 * count, np.int64)
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
