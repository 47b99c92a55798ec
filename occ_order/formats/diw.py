"""Depth in the Wild: one ordered pair of points per image (Chen et al., NIPS 2016).

`DIW_test.csv` has two rows per image: its path, `./DIW_test/name.thumb`, and
`yA,xA,yB,xB,relation,...` with 1-based pixel coordinates. The relation starts with "<" if A is
closer than B and with ">" if it is farther; further columns are ignored.
"""

from __future__ import annotations

import csv
import io
import os
from typing import Any

from occ_order.files import atomic_writer, join_path, read_text, relative_name, show
from occ_order.formats.checks import Report


def load_diw(
    csv_file: str | os.PathLike,
    image_root: str | os.PathLike,
    *,
    problems: list[str] | None = None,
) -> list[dict[str, Any]]:
    """Read the point pairs of Depth in the Wild.

    Args:
        csv_file: `DIW_test.csv` or a file of the same layout.
        image_root: folder that the paths in the file are relative to.
        problems: None to raise at the first error; a list to collect messages in.

    Returns:
        [{"file_name": str, "point_a": (y, x), "point_b": (y, x), "relation": "<" or ">"}], 0-based
        pixels, "<" = A is closer. [] for an empty file.

    Raises:
        ValueError: names the file and line of the first error.
    """
    report = Report(csv_file, problems)
    rows = []
    with report.at():
        text = io.StringIO(read_text(csv_file), newline="")
        reader = csv.reader(text, skipinitialspace=True)
        try:
            rows = [(reader.line_num, row) for row in reader if row]
        except csv.Error as error:
            raise ValueError(f"not a csv file ({error})") from error
    if len(rows) % 2:
        with report.at():
            raise ValueError(f"must have two rows per image, got {len(rows)} rows")
    pairs = []
    for (line, name), (_, values) in zip(rows[::2], rows[1::2], strict=False):
        with report.at(f"line {line}"):
            pairs.append(_read_pair(name, values, image_root))
    return pairs


def _read_pair(name: list[str], values: list[str], image_root: str | os.PathLike) -> dict[str, Any]:
    if len(name) != 1:
        raise ValueError(f"must be one path, got {show(name)}")
    file_name = join_path(image_root, name[0].strip())
    try:
        ya, xa, yb, xb = (int(value) for value in values[:4])
    except ValueError as error:
        raise ValueError(f"next row must start with yA,xA,yB,xB, got {show(values)}") from error
    if min(ya, xa, yb, xb) < 1:
        raise ValueError(f"coordinates count from 1, got {show(values)}")
    relation = values[4].strip()[:1] if len(values) > 4 else ""
    if relation not in ("<", ">"):
        raise ValueError(f"relation must start with '<' or '>', got {show(values[4:5])}")
    return {
        "file_name": file_name,
        "point_a": (ya - 1, xa - 1),
        "point_b": (yb - 1, xb - 1),
        "relation": relation,
    }


def save_diw(
    pairs: list[dict[str, Any]],
    csv_file: str | os.PathLike,
    *,
    image_root: str | os.PathLike | None = None,
) -> None:
    """Write point pairs in the layout of `DIW_test.csv`.

    Args:
        pairs: as `load_diw` returns them.
        csv_file: file to write.
        image_root: paths are written relative to this folder, starting with "./"; None writes them
            as they are.

    Raises:
        ValueError: names the pair that cannot be written.
    """
    report = Report(csv_file)
    with atomic_writer(csv_file) as file:
        writer = csv.writer(file, lineterminator="\n")
        for index, pair in enumerate(pairs):
            with report.at(f"pair {index}"):
                points = [int(value) + 1 for key in ("point_a", "point_b") for value in pair[key]]
                if min(points) < 1 or pair["relation"] not in ("<", ">"):
                    raise ValueError(f"points must be >= 0 and relation '<' or '>', got {pair}")
                name = relative_name(pair["file_name"], image_root)
                writer.writerow([name if image_root is None else f"./{name}"])
                writer.writerow([*points, pair["relation"]])
