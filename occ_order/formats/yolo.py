"""Text files of YOLO segmentation: one per image, named like it, with one line per instance.

    0 0.31 0.20 0.55 0.21 0.54 0.60          class, then x y of each corner, from 0 to 1
    0 0.31 0.20 0.55 0.21 0.54 0.60 0.87     the same with a score (`save_conf=True`)

Class names are the lines of `classes.txt` or `obj.names` in the folder of the file or its parent,
if there is such a file. Lines of boxes (class x y width height) are rejected.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from occ_order.files import read_text, show
from occ_order.formats import outlines
from occ_order.formats.checks import is_integer
from occ_order.formats.pages import Found, Page, Tolerance, gathered
from occ_order.instances import OrderedInstances

NAMES = ("classes.txt", "obj.names")
"""Files of the names of the classes."""

SLACK = 0.01
"""Coordinates may be so much below 0 or above 1, which rounding and some tools do."""


def yolo_page(path: Path, data: None = None) -> list[Page]:
    """Return the instances of a text file as a page; none for a file of class names."""
    if path.name in NAMES:
        return []

    def read(size: tuple[int, int], tolerance: Tolerance) -> OrderedInstances:
        names = _names_beside(path)
        lines = [line.split() for line in read_text(path).splitlines()]
        entries = [
            (f"line {k}", lambda k=k, words=words: _instance(k, words, size, names))
            for k, words in enumerate(lines, start=1)
            if words
        ]
        return gathered(path, size, entries, tolerance)

    return [Page("", read)]


def _names_beside(path: Path) -> list[str]:
    for folder in (path.parent, path.parent.parent):
        for name in NAMES:
            if (folder / name).is_file():
                return [line.strip() for line in read_text(folder / name).splitlines()]
    return []


def _instance(
    number: int, words: Sequence[str], size: tuple[int, int], names: Sequence[str]
) -> Found:
    try:
        values = outlines.numbers([float(word) for word in words])
    except ValueError:
        raise ValueError(f"expected numbers, got {show(' '.join(words))}") from None
    kind = int(values[0])
    if kind != values[0] or kind < 0 or not is_integer(kind):
        raise ValueError(f"begins with the number of a class, 0 or more, got {words[0]!r}")
    if names and kind >= len(names):
        raise ValueError(f"class {kind} is not among the {len(names)} names beside the file")
    score = values.pop() if len(values) % 2 == 0 else 1.0
    if len(values) < 7:
        raise ValueError(
            f"expected a class and three or more points, got {len(words)} numbers; boxes (class x "
            "y width height) have no outline"
        )
    points = np.array(values[1:]).reshape(-1, 2)
    if points.min() < -SLACK or points.max() > 1 + SLACK:
        wrong = points.min() if points.min() < -SLACK else points.max()
        raise ValueError(f"coordinates are shares of the image, from 0 to 1, got {wrong:g}")
    if not 0 <= score <= 1:
        raise ValueError(f"the score at its end must be from 0 to 1, got {score:g}")
    xs, ys = (points.clip(0, 1) * size[::-1]).T
    name = names[kind] if names else ""
    return Found(number, outlines.polygon(xs, ys), kind, name, score)
