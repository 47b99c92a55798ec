"""Sheets with all panels of one image, and writing of panels to files."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

import numpy as np

from occ_order.draw.canvas import INK, PAPER, join, text_width, write
from occ_order.draw.image_panels import Panel
from occ_order.files import save_png

_GAP = 14


def sheet(parts: Mapping[str, Panel], *, title: str = "", columns: int = 3) -> np.ndarray:
    """Arrange panels on one sheet.

    Args:
        parts: panels of :func:`occ_order.draw.image_panels.panels`; may be empty.
        title: title on top.
        columns: number of panels per row.
    """
    framed = [_framed(panel.heading, panel.image) for panel in parts.values()]
    rows = [
        join(framed[k : k + columns], gap=_GAP, background=PAPER)
        for k in range(0, len(framed), columns)
    ]
    head = np.full((34, max(text_width(title, 19) + 16, 60), 3), PAPER, np.uint8)
    write(head, title, (8, 17), size=19, bold=True)
    body = join([head, *rows], axis=0, gap=_GAP, background=PAPER)
    return np.pad(body, ((8, 8), (8, 8), (0, 0)), constant_values=255)


def _framed(heading: str, photo: np.ndarray) -> np.ndarray:
    width = max(photo.shape[1], text_width(heading, 15) + 8)
    head = np.full((24, width, 3), PAPER, np.uint8)
    write(head, heading, (4, 12), size=15, color=INK)
    return join([head, photo], axis=0, gap=2, background=PAPER)


def safe_stem(number: int, name: str) -> str:
    """Return a safe and unique file name without extension for an image.

    Args:
        number: unique number of the image.
        name: any text.

    Returns:
        The number, an underscore, and the name with all characters but letters, digits, "-" and "_"
        replaced.
    """
    stem = PurePosixPath(name.replace("\\", "/")).stem
    return f"{number:05d}_{re.sub(r'[^0-9A-Za-z_-]+', '_', stem)[:60]}".rstrip("_")


def save_panels(
    stem: str | os.PathLike,
    parts: Mapping[str, Panel],
    *,
    title: str = "",
    separate: bool = False,
) -> list[Path]:
    """Write panels as PNG.

    Args:
        stem: path without extension; its folder is created if missing.
        parts: panels of :func:`occ_order.draw.image_panels.panels`.
        title: title of the sheet.
        separate: write one file ``stem_kind.png`` per panel instead of one sheet ``stem.png``.

    Returns:
        The files written.
    """
    stem = Path(stem)
    images = {stem.name: sheet(parts, title=title)}
    if separate:
        images = {f"{stem.name}_{kind}": panel.image for kind, panel in parts.items()}
    for name, photo in images.items():
        save_png(stem.with_name(f"{name}.png"), photo)
    return [stem.with_name(f"{name}.png") for name in images]
