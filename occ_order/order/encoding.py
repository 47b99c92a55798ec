"""Definition of the order matrices, and conversions from and to all other notations.

Definition for N instances of one image; row = first of the pair, column = second:

* **Occlusion** ``int8 (N, N)``: ``occ[i, j] = 1`` iff instance i occludes instance j, 0 iff it does
  not, -1 = unknown (not annotated). If both ``occ[i, j]`` and ``occ[j, i]`` are 1, the two occlude
  each other (mutual, bidirectional occlusion). The diagonal is 0.
* **Depth** ``int8 (N, N)``: ``depth[i, j] = 1`` iff i is closer to the camera than j, 0 iff it is
  farther, 2 iff they are equal, -1 = unknown; ``depth[j, i]`` is then 0, 1, 2 or -1. The diagonal
  is -1. Two optional matrices, symmetric and with the diagonal -1, add details: ``overlap int8
  (N, N)``, 1 iff the depth ranges of the two overlap, 0 iff they are distinct, -1 unknown; ``count
  int16 (N, N)``, number of annotators asked until two agreed, -1 unknown.

All files, evaluators, plots and networks of this package use these matrices. Other notations are
converted only in this module and in :mod:`occ_order.order.kins`:

==================  ==============================================================================
InstaOrder          ``{"order": "0<1", "count": 2}``; 0-based positions in ``instance_ids``.
                    Occlusion: ``"a<b"`` a occludes b, ``"a<b & b<a"`` mutual, pairs without
                    occlusion absent. Depth: ``"a<b"`` a is closer, ``"a=b"`` equal, pairs that
                    are not annotated absent; with ``"overlap": bool``. (Lee & Park, CVPR 2022)
COCOA               ``"1-2,1-3"``: 1-based positions in ``regions``, the first occludes the second
KINS, 2020 files    cluster ``oco_id`` and layer inside the cluster ``ico_id``, smaller = nearer
KINS, 2019 files    no order stored; derived from the masks, :func:`occlusion_from_masks`
signed matrix       +1 row occludes column, -1 row is occluded by column, 0 neither
edge list           ``int64 (E, 2)``, rows (occluder, occludee), 0-based
==================  ==============================================================================

Damaged input, and orders that a notation cannot express, raise a ``ValueError`` that quotes the
string or names the pair. Zero instances give (0, 0).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from numbers import Integral
from typing import Any

import numpy as np

from occ_order.masks import bordering_pairs, overlap_areas

UNKNOWN = -1
"""Unknown or not annotated, in every matrix."""

CLOSER = 1
"""Depth: the row is closer than the column."""

FARTHER = 0
"""Depth: the row is farther than the column."""

EQUAL = 2
"""Depth: row and column are equally far."""

OVERLAPPING = 1
"""Overlap: the depth ranges of the two instances overlap."""

DISTINCT = 0
"""Overlap: the depth ranges of the two instances are disjoint."""

DEPTH_REVERSED = np.array([CLOSER, FARTHER, EQUAL, UNKNOWN], dtype=np.int8)
"""``DEPTH_REVERSED[depth[i, j]]`` is what ``depth[j, i]`` must be (index -1 is the last entry)."""

_RELATION = re.compile(r"\s*([0-9]{1,9})\s*([<=])\s*([0-9]{1,9})\s*")
_CONSTRAINT = re.compile(r"\s*([0-9]{1,9})\s*-\s*([0-9]{1,9})\s*")


# --- validation ----------------------------------------------------------------------------


def check_occlusion(occ: np.ndarray, *, name: str = "occlusion") -> np.ndarray:
    """Check an occlusion matrix against the definition.

    Args:
        occ: (N, N), values 1, 0, -1, diagonal 0; any numeric or bool dtype.
        name: name of the matrix in error messages.

    Returns:
        The same values as int8 (N, N); the input itself if it is int8 already.

    Raises:
        ValueError: not square, a value outside {1, 0, -1}, or an instance related to itself.
    """
    occ = _check_matrix(occ, (1, 0, UNKNOWN), name, np.int8)
    on_diagonal = np.eye(len(occ), dtype=bool) & (occ != 0)
    _refuse_first(on_diagonal, f"{name}: the diagonal must be 0, got", occ)
    return occ


def check_depth(
    depth: np.ndarray,
    overlap: np.ndarray | None = None,
    count: np.ndarray | None = None,
    *,
    name: str = "depth",
) -> tuple[np.ndarray, np.ndarray | None, np.ndarray | None]:
    """Check depth, overlap and count matrices against the definition.

    Args:
        depth: (N, N), values 1, 0, 2, -1; the two entries of a pair are consistent; diagonal -1.
        overlap: (N, N) or None, values 1, 0, -1; symmetric, diagonal -1.
        count: (N, N) or None, values -1 or at least 1; symmetric, diagonal -1.
        name: name of the depth matrix in error messages.

    Returns:
        depth int8, overlap int8 or None, count int16 or None; inputs of that dtype are returned
        without a copy.

    Raises:
        ValueError: an invalid shape or value, or the two entries of a pair contradict each other.
    """
    depth = _check_matrix(depth, (CLOSER, FARTHER, EQUAL, UNKNOWN), name, np.int8)
    _check_agreement(depth, DEPTH_REVERSED[depth].T, name)
    if overlap is not None:
        overlap = _check_matrix(overlap, (1, 0, UNKNOWN), "overlap", np.int8, size=len(depth))
        _check_agreement(overlap, overlap.T, "overlap")
    if count is not None:
        count = _check_matrix(count, None, "count", np.int16, size=len(depth))
        _check_agreement(count, count.T, "count")
        if ((count < 1) & (count != UNKNOWN)).any():
            raise ValueError("count: values must be -1 or at least 1")
    return depth, overlap, count


def empty_occlusion(num_instances: int) -> np.ndarray:
    """Return an occlusion matrix without any occlusion: int8 (N, N), all 0.

    Raises:
        ValueError: ``num_instances`` is not an integer of at least 0.
    """
    n = _check_number(num_instances)
    return np.zeros((n, n), dtype=np.int8)


def empty_depth(num_instances: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return depth int8, overlap int8 and count int16, each (N, N), all -1 (unknown).

    Raises:
        ValueError: ``num_instances`` is not an integer of at least 0.
    """
    n = _check_number(num_instances)
    depth = np.full((n, n), UNKNOWN, dtype=np.int8)
    return depth, depth.copy(), depth.astype(np.int16)


# --- InstaOrder ----------------------------------------------------------------------------


def occlusion_from_instaorder(
    items: Sequence[Mapping[str, Any]], num_instances: int, *, name: str = ""
) -> np.ndarray:
    """Convert the ``occlusion`` list of an InstaOrder entry to an occlusion matrix.

    Args:
        items: ``{"order": "0<1" | "0<1 & 1<0", "count": int}``; ``count`` is optional and only
            checked here, see :func:`occlusion_count_from_instaorder`. Pairs without an item do not
            occlude each other.
        num_instances: N, the length of ``instance_ids``.
        name: prefix for errors, for instance ``"x.json, image 7"``.

    Returns:
        int8 (N, N).

    Raises:
        ValueError: an invalid order string, an index out of range, i = j, a duplicate pair (also
            "0<1" and "1<0" as two items: mutual occlusion is a single item), or a ``count`` that is
            not a positive integer. The message quotes the string.
    """
    occ = empty_occlusion(num_instances)
    for item, i, j, relation in _read_items(items, len(occ), "occlusion", "<&", name):
        _read_count(item, name)
        occ[i, j] = 1
        occ[j, i] = relation == "&"
    return occ


def occlusion_count_from_instaorder(
    items: Sequence[Mapping[str, Any]], num_instances: int, *, name: str = ""
) -> np.ndarray:
    """Return the number of annotators asked about each occluding pair of an InstaOrder entry.

    Two random annotators are asked about every pair, and more until two agree (Section 3.1).

    Args:
        items: as for :func:`occlusion_from_instaorder`.
        num_instances: N.
        name: prefix for errors.

    Returns:
        int16 (N, N), symmetric; -1 where no count is given, and for pairs without occlusion, whose
        counts the format does not store.

    Raises:
        ValueError: as :func:`occlusion_from_instaorder`.
    """
    count = empty_depth(num_instances)[2]
    for item, i, j, _ in _read_items(items, len(count), "occlusion", "<&", name):
        count[i, j] = count[j, i] = _read_count(item, name)
    return count


def occlusion_to_instaorder(
    occ: np.ndarray, *, count: int | np.ndarray = 2
) -> list[dict[str, Any]]:
    """Convert an occlusion matrix to the ``occlusion`` list of an InstaOrder entry.

    Args:
        occ: (N, N) without -1 (the format cannot express "not annotated").
        count: number of annotators asked, one for all pairs or int (N, N); at least 2 in
            InstaOrder. Items of pairs with -1 have no ``count``.

    Returns:
        ``{"order": str, "count": int}`` for each pair i < j with occlusion, row-major.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix or holds -1, or a count is 0 or below -1.
    """
    occ = check_annotated(occ, "InstaOrder")
    counts = np.broadcast_to(np.asarray(count), occ.shape)
    items = []
    for i, j in np.argwhere(np.triu((occ | occ.T) == 1)):
        forward, backward = f"{i}<{j}", f"{j}<{i}"
        both = occ[i, j] and occ[j, i]
        order = f"{forward} & {backward}" if both else forward if occ[i, j] else backward
        if counts[i, j] < 1 and counts[i, j] != UNKNOWN:
            raise ValueError(f"count of pair {i}, {j} must be at least 1, got {counts[i, j]}")
        known = {} if counts[i, j] == UNKNOWN else {"count": int(counts[i, j])}
        items.append({"order": order, **known})
    return items


def depth_from_instaorder(
    items: Sequence[Mapping[str, Any]], num_instances: int, *, name: str = ""
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Convert the ``depth`` list of an InstaOrder entry to depth, overlap and count matrices.

    Args:
        items: ``{"order": "0<1" | "0=1", "count": int, "overlap": bool}``; a missing ``count`` or
            ``overlap`` is -1, and so is every pair without an item.
        num_instances: N, the length of ``instance_ids``.
        name: prefix for errors.

    Returns:
        depth int8, overlap int8, count int16, each (N, N).

    Raises:
        ValueError: an invalid order string, an index out of range, i = j, a duplicate pair (equal
            or contradictory: "0<1" with "1<0", "0=1" with "0<1"), an ``overlap`` that is not a
            bool, or a ``count`` that is not an integer in 1 .. 32767. The message quotes the
            string.
    """
    depth, overlap, count = empty_depth(num_instances)
    for item, i, j, relation in _read_items(items, len(depth), "depth", "<=", name):
        depth[i, j] = EQUAL if relation == "=" else CLOSER
        depth[j, i] = DEPTH_REVERSED[depth[i, j]]
        count[i, j] = count[j, i] = _read_count(item, name)
        overlap[i, j] = overlap[j, i] = _read_overlap(item, name)
    return depth, overlap, count


def depth_to_instaorder(
    depth: np.ndarray, overlap: np.ndarray, count: np.ndarray
) -> list[dict[str, Any]]:
    """Convert depth, overlap and count matrices to the ``depth`` list of an InstaOrder entry.

    Args:
        depth: (N, N); pairs with -1 are left out.
        overlap: (N, N); items of pairs with -1 have no ``overlap``.
        count: (N, N); items of pairs with -1 have no ``count``.

    Returns:
        ``{"order": str, "count": int, "overlap": bool}`` for each annotated pair i < j, row-major.

    Raises:
        ValueError: the matrices contradict the definition, or overlap or count is known for a pair
            without depth.
    """
    depth, ranges, counts = check_depth(depth, overlap, count)
    assert ranges is not None and counts is not None
    lost = (depth == UNKNOWN) & ((ranges != UNKNOWN) | (counts != UNKNOWN))
    _refuse_first(lost, "an overlap or count is given without a depth order:", depth)
    items = []
    for i, j in np.argwhere(np.triu(depth != UNKNOWN)):
        orders = {CLOSER: f"{i}<{j}", FARTHER: f"{j}<{i}", EQUAL: f"{i}={j}"}
        item: dict[str, Any] = {"order": orders[int(depth[i, j])]}
        if counts[i, j] != UNKNOWN:
            item["count"] = int(counts[i, j])
        if ranges[i, j] != UNKNOWN:
            item["overlap"] = bool(ranges[i, j])
        items.append(item)
    return items


def without_bidirectional(occ: np.ndarray) -> np.ndarray:
    """Return a copy of an occlusion matrix with mutual occlusions set to unknown (-1).

    InstaOrder's supplement A2.1 (Table A1) trains and tests with and without bidirectional pairs.

    Args:
        occ: int (N, N), 1 / 0 / -1.

    Returns:
        int8 (N, N).
    """
    occ = np.array(occ, dtype=np.int8)
    occ[(occ == 1) & (occ.T == 1)] = UNKNOWN
    return occ


# --- COCOA ---------------------------------------------------------------------------------


def occlusion_from_depth_constraint(
    text: str,
    num_regions: int,
    *,
    occlude_rate: Sequence[float] | None = None,
    max_occlude_rate: float | None = None,
    name: str = "",
) -> np.ndarray:
    """Convert COCOA's ``depth_constraint`` to an occlusion matrix.

    Args:
        text: ``"1-2,1-5"``, 1-based positions in ``regions``, the first occludes the second; an
            empty string means no occlusion. "1-2,2-1" is mutual occlusion (not used in COCOA).
        num_regions: N, the length of ``regions``.
        occlude_rate: N occluded fractions of the regions in [0, 1], absent = 0.
        max_occlude_rate: ignore pairs whose occludee has a larger occluded fraction; InstaOrder's
            published evaluation uses 0.95. None keeps all.
        name: prefix for errors.

    Returns:
        int8 (N, N).

    Raises:
        ValueError: an invalid constraint, an index out of range, i = j, a duplicate constraint;
            ``max_occlude_rate`` without N rates. The message quotes the constraint.
    """
    where = f"{name}: " if name else ""
    occ = empty_occlusion(num_regions)
    if not isinstance(text, str):
        raise ValueError(f"{where}depth_constraint must be a string, got {text!r}")
    for part in text.split(",") if text.strip() else []:
        match = _CONSTRAINT.fullmatch(part)
        if match is None:
            raise ValueError(f"{where}depth_constraint {part!r} is not of the form '1-2'")
        i, j = int(match[1]) - 1, int(match[2]) - 1
        _check_pair(i, j, len(occ), f"{where}depth_constraint {part!r}", first=1)
        if occ[i, j]:
            raise ValueError(f"{where}depth_constraint {part!r} is given twice")
        occ[i, j] = 1
    if max_occlude_rate is not None:
        if occlude_rate is None or len(occlude_rate) != len(occ):
            raise ValueError(f"{where}max_occlude_rate needs {len(occ)} occlude_rate values")
        occ[:, np.asarray(occlude_rate, dtype=float) > max_occlude_rate] = 0
    return occ


def occlusion_to_depth_constraint(occ: np.ndarray) -> str:
    """Convert an occlusion matrix to COCOA's ``depth_constraint``.

    Args:
        occ: (N, N) without -1 (the format cannot express "not annotated").

    Returns:
        ``"1-2,1-5"``, 1-based, row-major; empty for no occlusion.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix or holds -1.
    """
    edges = edges_from_occlusion(check_annotated(occ, "COCOA"))
    return ",".join(f"{i + 1}-{j + 1}" for i, j in edges)


# --- masks ------------------------------------------------------------------------------------


def occlusion_from_masks(modal: np.ndarray, amodal: np.ndarray) -> np.ndarray:
    """Derive the occlusion matrix from modal and amodal masks, as published for KINS' 2019 files.

    For each pair of bordering modal masks let ``o_ij = |modal_i & amodal_j|``, the area of j that
    lies behind the visible part of i. If ``o_ij = o_ji = 0`` there is no occlusion; otherwise i
    occludes j if ``o_ij > o_ji``, and for equal areas the lower index occludes. The result has no
    mutual occlusion; cycles are possible.

    Args:
        modal: (N, H, W) modal masks, nonzero = inside.
        amodal: (N, H, W) amodal masks, nonzero = inside.

    Returns:
        int8 (N, N).

    Raises:
        ValueError: the two stacks differ in shape.
    """
    if np.shape(modal) != np.shape(amodal):
        raise ValueError(f"modal is {np.shape(modal)}, amodal is {np.shape(amodal)}")
    near = bordering_pairs(modal)
    area = overlap_areas(modal, amodal, pairs=near)
    lower_index = np.triu(np.ones_like(near), 1)
    wins = np.where(lower_index, area >= area.T, area > area.T)
    return (near & ((area > 0) | (area.T > 0)) & wins).astype(np.int8)


# --- signed matrices and edge lists --------------------------------------------------------


def occlusion_from_signed(signed: np.ndarray) -> np.ndarray:
    """Convert a signed matrix to an occlusion matrix.

    Args:
        signed: (N, N), antisymmetric: +1 row occludes column, -1 row is occluded, 0 neither.

    Returns:
        int8 (N, N) with values 0 and 1.

    Raises:
        ValueError: another value, or two entries of a pair that are not opposite.
    """
    signed = _check_matrix(signed, (1, 0, -1), "signed order", np.int8)
    _check_agreement(signed, -signed.T, "signed order", diagonal=0)
    return (signed == 1).astype(np.int8)


def occlusion_to_signed(occ: np.ndarray) -> np.ndarray:
    """Convert an occlusion matrix to a signed matrix, as in :func:`occlusion_from_signed`.

    Args:
        occ: (N, N) without -1 and without mutual occlusion, which a signed matrix cannot express.

    Returns:
        int8 (N, N), antisymmetric.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix, holds -1, or a pair is mutual.
    """
    occ = check_annotated(occ, "a signed matrix")
    _refuse_first((occ & occ.T) == 1, "a signed matrix cannot hold mutual occlusion:", occ)
    return occ - occ.T


def edges_from_occlusion(occ: np.ndarray) -> np.ndarray:
    """Convert an occlusion matrix to an edge list; unknown pairs (-1) are no edges.

    Args:
        occ: (N, N) occlusion matrix.

    Returns:
        int64 (E, 2) rows (occluder, occludee), row-major.

    Raises:
        ValueError: ``occ`` is not an occlusion matrix.
    """
    return np.argwhere(check_occlusion(occ) == 1).astype(np.int64)


def occlusion_from_edges(edges: Any, num_instances: int) -> np.ndarray:
    """Convert an edge list to an occlusion matrix.

    Args:
        edges: E rows (occluder, occludee), 0-based integers; may be empty.
        num_instances: N.

    Returns:
        int8 (N, N) with values 0 and 1.

    Raises:
        ValueError: not E pairs of integers, an index out of range, i = j, or a duplicate edge.
    """
    occ = empty_occlusion(num_instances)
    edges = np.asarray(edges)
    if edges.size == 0:
        return occ
    if edges.ndim != 2 or edges.shape[1] != 2 or edges.dtype.kind not in "iu":
        raise ValueError(f"edges must be integers (E, 2), got {edges.dtype} {edges.shape}")
    for i, j in edges.tolist():
        _check_pair(i, j, len(occ), f"edge ({i}, {j})")
        if occ[i, j]:
            raise ValueError(f"edge ({i}, {j}) is given twice")
        occ[i, j] = 1
    return occ


# --- internals -----------------------------------------------------------------------------


def _check_number(num_instances: Any) -> int:
    if isinstance(num_instances, bool) or not isinstance(num_instances, Integral):
        raise ValueError(f"number of instances must be an integer, got {num_instances!r}")
    if num_instances < 0:
        raise ValueError(f"number of instances must be at least 0, got {num_instances}")
    return int(num_instances)


def _check_matrix(
    matrix: Any, values: tuple[int, ...] | None, name: str, dtype: type, size: int | None = None
) -> np.ndarray:
    matrix = np.asarray(matrix)
    if matrix.ndim != 2 or matrix.shape[0] != matrix.shape[1]:
        raise ValueError(f"{name}: expected (N, N), got shape {matrix.shape}")
    if size is not None and len(matrix) != size:
        raise ValueError(f"{name}: expected ({size}, {size}), got shape {matrix.shape}")
    if matrix.dtype.kind not in "biuf":
        raise ValueError(f"{name}: expected numbers, got dtype {matrix.dtype}")
    if values is None:
        largest = np.iinfo(dtype).max
        good = (matrix >= UNKNOWN) & (matrix <= largest)
        _refuse_first(~good, f"{name}: expected values -1 .. {largest}, got", matrix)
    else:
        # Several times faster than np.isin on the small matrices of one photograph.
        bad = np.ones(matrix.shape, dtype=bool)
        for value in values:
            bad &= matrix != value
        _refuse_first(bad, f"{name}: expected values {values}, got", matrix)
    return matrix.astype(dtype, copy=False)


def _refuse_first(bad: np.ndarray, message: str, matrix: np.ndarray) -> None:
    """Raise a ValueError with the first entry of ``matrix`` where ``bad`` is True, if any."""
    if bad.any():
        i, j = np.argwhere(bad)[0]
        raise ValueError(f"{message} {matrix[i, j]} at [{i}, {j}]")


def _check_agreement(
    matrix: np.ndarray, expected: np.ndarray, name: str, diagonal: int = UNKNOWN
) -> None:
    on_diagonal = np.eye(len(matrix), dtype=bool) & (matrix != diagonal)
    _refuse_first(on_diagonal, f"{name}: the diagonal must be {diagonal}, got", matrix)
    message = f"{name}: the two entries of a pair contradict each other:"
    _refuse_first(matrix != expected, message, matrix)


def check_annotated(occ: np.ndarray, notation: str) -> np.ndarray:
    """Check an occlusion matrix for a notation that cannot express unknown pairs (-1).

    Raises:
        ValueError: ``occ`` is not an occlusion matrix or holds -1.
    """
    occ = check_occlusion(occ)
    _refuse_first(occ == UNKNOWN, f"{notation} cannot hold pairs that are not annotated:", occ)
    return occ


def _check_pair(i: int, j: int, n: int, what: str, first: int = 0) -> None:
    """Check the 0-based indices of a pair; ``first`` is the notation's lowest index, for errors."""
    for k in (i, j):
        if not 0 <= k < n:
            raise ValueError(
                f"{what}: instance {k + first} is out of range, expected {first} .. {n - 1 + first}"
            )
    if i == j:
        raise ValueError(f"{what} relates instance {i + first} to itself")


def integers(values: Any, name: str) -> np.ndarray:
    """Return a list of integers as int64 (N,).

    Raises:
        ValueError: a value is not an integer; the message begins with ``name``.
    """
    array = np.asarray(values)
    if array.size == 0:
        return np.zeros(0, dtype=np.int64)
    if array.ndim != 1 or array.dtype.kind not in "iu":
        raise ValueError(f"{name} must be N integers, got {array.dtype} {array.shape}")
    return array.astype(np.int64)


def _read_items(
    items: Sequence[Mapping[str, Any]], n: int, kind: str, allowed: str, name: str
) -> list[tuple[Mapping[str, Any], int, int, str]]:
    """Return (item, i, j, relation) of each item; relation is "<", "=" or "&" (mutual)."""
    where = f"{name}: " if name else ""
    if isinstance(items, (str, bytes, Mapping)) or not isinstance(items, Sequence):
        raise ValueError(f"{where}{kind} must be a list of items, got {type(items).__name__}")
    seen: dict[tuple[int, int], str] = {}
    result = []
    for k, item in enumerate(items):
        if not isinstance(item, (dict, Mapping)) or not isinstance(item.get("order"), str):
            raise ValueError(f"{where}{kind} item {k} must have an 'order' string, got {item!r}")
        what = f"{where}{kind} order {item['order']!r}"
        i, j, relation = _read_order(item["order"], what)
        if relation not in allowed:
            forms = {"<&": "'a<b' or 'a<b & b<a'", "<=": "'a<b' or 'a=b'"}[allowed]
            raise ValueError(f"{what} is not of the form {forms}")
        _check_pair(i, j, n, what)
        pair = (min(i, j), max(i, j))
        if pair in seen:
            raise ValueError(f"{what}: the pair was already given as {seen[pair]!r}")
        seen[pair] = item["order"]
        result.append((item, i, j, relation))
    return result


def _read_order(order: str, what: str) -> tuple[int, int, str]:
    matches = [_RELATION.fullmatch(part) for part in order.split("&")]
    if not 1 <= len(matches) <= 2 or None in matches:
        raise ValueError(f"{what} cannot be read, expected 'a<b', 'a<b & b<a' or 'a=b'")
    relations = [(int(m[1]), m[2], int(m[3])) for m in matches if m]
    i, relation, j = relations[0]
    if len(relations) == 1:
        return i, j, relation
    if relations[1] != (j, "<", i) or relation != "<":
        raise ValueError(f"{what}: the second half must be the first one reversed")
    return i, j, "&"


def _read_count(item: Mapping[str, Any], name: str) -> int:
    if "count" not in item:
        return UNKNOWN
    count = item["count"]
    whole = isinstance(count, (int, Integral)) and not isinstance(count, bool)
    if not whole or not 1 <= int(count) <= 32767:
        where = f"{name}: " if name else ""
        raise ValueError(
            f"{where}order {item['order']!r}: count must be an integer in 1 .. 32767, got {count!r}"
        )
    return int(count)


def _read_overlap(item: Mapping[str, Any], name: str) -> int:
    if "overlap" not in item:
        return UNKNOWN
    overlap = item["overlap"]
    if not isinstance(overlap, (bool, np.bool_)):
        where = f"{name}: " if name else ""
        raise ValueError(
            f"{where}order {item['order']!r}: overlap must be true or false, got {overlap!r}"
        )
    return int(overlap)
