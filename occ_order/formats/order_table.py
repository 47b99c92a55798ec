"""Orders as a table (CSV) that can be edited by hand: one line per pair, ``a in front of b``.

A table as saved by spreadsheet programs (CSV with commas, semicolons or tabs; UTF-8 or UTF-16) with
this header, case-insensitive; empty columns at the end, empty lines and Excel's line ``sep=;`` are
ignored::

    image,first,relation,second,range,count
    kitchen.jpg,cup,in front of,plate,,
    kitchen.jpg,cup,closer,plate,distinct,2
    kitchen.jpg,plate,equal,fork,overlap,

``relation`` is one of

* ``in front of`` (or ``occludes``): the first instance occludes the second. Mutual occlusion has
  two lines, one per direction.
* ``unknown``: it is unknown whether the first occludes the second.
* ``closer``, ``equal``: depth order. ``range`` is ``distinct`` or ``overlap`` (of the depth
  ranges), ``count`` the number of annotators asked; both may be empty, or these two columns may be
  missing.

An image with a line about occlusion has an occlusion order, in which pairs without a line do not
occlude each other; ``kitchen.jpg,,in front of,,`` means that there are no occlusions. An image
without such a line has no occlusion order, and a pair without a line about depth has unknown depth.
The names of images and instances are defined by the format that the table belongs to.
"""

from __future__ import annotations

import csv
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np

from occ_order.files import DataError, atomic_writer, read_text
from occ_order.order import CLOSER, DISTINCT, EQUAL, FARTHER, OVERLAPPING, UNKNOWN
from occ_order.order.encoding import DEPTH_REVERSED, empty_depth, empty_occlusion

HEADER = ("image", "first", "relation", "second", "range", "count")

_OCCLUDES = ("in front of", "occludes")
_DEPTHS = {"closer": CLOSER, "equal": EQUAL}
_LINE = re.compile(r"[^\r\n]*(?:\r\n|\r|\n)|[^\r\n]+")
_RANGES = {"": UNKNOWN, "distinct": DISTINCT, "overlap": OVERLAPPING}


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table, with its location for error messages."""

    image: str
    first: str
    relation: str
    second: str
    range: str = ""
    count: int = UNKNOWN
    path: str = ""
    line: int = 0

    @property
    def place(self) -> str:
        """File and line, for error messages."""
        return f"{self.path}, line {self.line}"


def read_order_table(path: str | os.PathLike) -> dict[str, list[Row]]:
    """Read the table.

    Args:
        path: CSV file; empty lines and surrounding whitespace are ignored.

    Returns:
        Name of the image -> its rows, in the order of the file.

    Raises:
        ValueError: an invalid header, number of columns or value; names file and line.
        OSError: the file cannot be read.
    """
    path = os.fspath(path)
    rows: dict[str, list[Row]] = {}
    lines = ((k, words) for k, words in enumerate(_lines(path), start=1) if any(words))
    header = next((words for _, words in lines if not _is_sep(words[0])), [])
    header = _fitted([word.lower() for word in header], 0)
    if header not in (list(HEADER), list(HEADER[:4]), list(HEADER[:5])):
        raise DataError(f"{path}: the header must be {','.join(HEADER)}, got {header}")
    for number, words in lines:
        row = _row(_fitted(words, len(header)), len(header), path, number)
        rows.setdefault(row.image, []).append(row)
    return rows


def _lines(path: str) -> Iterator[list[str]]:
    """Yield the cells of each line."""
    text = read_text(path)
    filled = (found[0] for found in _LINE.finditer(text) if found[0].strip())
    first = next((line for line in filled if not _is_sep(line)), "")
    delimiter = max(",;\t", key=first.count)
    reader = csv.reader((found[0] for found in _LINE.finditer(text)), delimiter=delimiter)
    try:
        for line in reader:
            # Millions of lines repeat few words.
            yield [sys.intern(word.strip()) for word in line]
    except csv.Error as error:
        raise DataError(f"{path}: not a CSV file ({error})") from error


def _is_sep(line: str) -> bool:
    """Return whether a line is the one that tells Excel the separator."""
    return line.lower().startswith("sep=")


def _fitted(words: list[str], columns: int) -> list[str]:
    """Strip empty cells beyond the header, and append missing optional ones."""
    while len(words) > columns and not words[-1]:
        words = words[:-1]
    optional = range(4, columns) if len(words) >= 4 else ()
    return [*words, *("" for column in optional if column >= len(words))]


def _row(words: list[str], columns: int, path: str, line: int) -> Row:
    place = f"{path}, line {line}"
    if len(words) != columns:
        raise DataError(f"{place}: expected {columns} columns, got {len(words)}: {words}")
    image, first, relation, second, ranges, count = [*words, "", ""][:6]
    relation, ranges = " ".join(relation.lower().split()), ranges.lower()  # no-break spaces, too
    if relation not in (*_OCCLUDES, "unknown", *_DEPTHS):
        raise DataError(
            f"{place}: the relation must be 'in front of', 'unknown', 'closer' or 'equal', "
            f"got {relation!r}"
        )
    if ranges not in _RANGES or (ranges and relation not in _DEPTHS):
        raise DataError(
            f"{place}: the range of a depth order must be 'distinct', 'overlap' or empty, "
            f"got {ranges!r}"
        )
    if count and (not count.isdecimal() or not 1 <= int(count) <= 32767):
        raise DataError(f"{place}: count must be an integer in 1 .. 32767 or empty, got {count!r}")
    relation, ranges = sys.intern(relation), sys.intern(ranges)
    return Row(image, first, relation, second, ranges, int(count or UNKNOWN), path, line)


def matrices_of(
    rows: Sequence[Row], num_instances: int, index_of: Callable[[str], int]
) -> dict[str, np.ndarray]:
    """Convert the rows of one image to order matrices.

    Args:
        rows: rows of one image.
        num_instances: N.
        index_of: name -> index of the instance; raises ValueError for an unknown name.

    Returns:
        "occlusion" int8 (N, N) if there is a row about occlusion; "depth" int8, "overlap" int8 and
        "count" int16, each (N, N), if there is a row about depth.

    Raises:
        ValueError: an unknown instance, an instance paired with itself, or a duplicate or
            contradictory pair; names file and line.
    """
    occlusion = empty_occlusion(num_instances)
    depth, overlap, count = empty_depth(num_instances)
    seen: dict[tuple[str, int, int], str] = {}
    for row in rows:
        if not (row.first or row.second or row.relation in _DEPTHS):
            continue  # only marks that the image has an occlusion order
        try:
            i, j = index_of(row.first), index_of(row.second)
            if i == j:
                raise ValueError(f"{row.first!r} and {row.second!r} are the same instance")
            _say_once(row, i, j, seen)
        except DataError:
            raise
        except ValueError as error:
            raise DataError(f"{row.place}: {error}") from None
        if row.relation not in _DEPTHS:
            occlusion[i, j] = UNKNOWN if row.relation == "unknown" else 1
            continue
        depth[i, j] = _DEPTHS[row.relation]
        depth[j, i] = DEPTH_REVERSED[depth[i, j]]
        overlap[i, j] = overlap[j, i] = _RANGES[row.range]
        count[i, j] = count[j, i] = row.count
    result = {}
    if any(row.relation not in _DEPTHS for row in rows):
        result["occlusion"] = occlusion
    if any(row.relation in _DEPTHS for row in rows):
        result.update(depth=depth, overlap=overlap, count=count)
    return result


def _say_once(row: Row, i: int, j: int, seen: dict[tuple[str, int, int], str]) -> None:
    """Check for duplicates: depth once per unordered pair, occlusion once per ordered pair."""
    about_depth = row.relation in _DEPTHS
    key = ("depth", min(i, j), max(i, j)) if about_depth else ("occlusion", i, j)
    if key in seen:
        raise ValueError(f"the {key[0]} of {row.first!r} and {row.second!r} stands in {seen[key]}")
    seen[key] = row.place


def rows_of(record: Mapping[str, Any], image: str, names: Sequence[str]) -> list[Row]:
    """Convert the orders of one record to rows.

    Args:
        record: with or without "occlusion", "depth", "overlap" and "count".
        image: name of the image.
        names: N unique names of the instances.

    Returns:
        Rows, occlusion first, row-major.
    """
    rows = []
    if "occlusion" in record:
        occlusion = np.asarray(record["occlusion"])
        words = {1: "in front of", UNKNOWN: "unknown"}
        edges = np.argwhere(occlusion != 0).tolist()
        rows = [Row(image, names[i], words[int(occlusion[i, j])], names[j]) for i, j in edges]
        rows = rows or [Row(image, "", "in front of", "")]
    return rows + _depth_rows(record, image, names)


def _depth_rows(record: Mapping[str, Any], image: str, names: Sequence[str]) -> list[Row]:
    if "depth" not in record:
        return []
    depth = np.asarray(record["depth"])
    ranges = {value: word for word, value in _RANGES.items()}
    unknown = np.full(depth.shape, UNKNOWN)
    overlap, count = record.get("overlap", unknown), record.get("count", unknown)
    rows = []
    for i, j in np.argwhere(np.triu(depth != UNKNOWN, 1)).tolist():
        first, second = (j, i) if depth[i, j] == FARTHER else (i, j)
        relation = "equal" if depth[i, j] == EQUAL else "closer"
        word = ranges[int(overlap[i, j])]
        rows.append(Row(image, names[first], relation, names[second], word, int(count[i, j])))
    return rows


def write_order_table(path: str | os.PathLike, rows: Iterable[Row]) -> None:
    """Write the table atomically."""
    with growing_order_table(path) as add:
        add(rows)


@contextmanager
def growing_order_table(path: str | os.PathLike) -> Iterator[Callable[[Iterable[Row]], None]]:
    """Write the table image by image; it replaces a file if the block does not raise.

    Yields:
        A function that adds rows.
    """
    with atomic_writer(path) as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(HEADER)

        def add(rows: Iterable[Row]) -> None:
            for row in rows:
                count = "" if row.count == UNKNOWN else row.count
                writer.writerow([row.image, row.first, row.relation, row.second, row.range, count])

        yield add
