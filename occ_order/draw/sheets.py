"""Everything about one image on a sheet: masks, whole objects, boundary, orders, comparison."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
from PIL import Image

from occ_order import masks
from occ_order.draw.boundaries import draw_oriented_boundary
from occ_order.draw.canvas import (
    INK,
    PAPER,
    check_image,
    display_scale,
    enlarge,
    join,
    text_width,
    write,
)
from occ_order.draw.graphs import draw_graph_on_image, draw_order_graph, thumbnails
from occ_order.draw.maps import draw_instances, draw_relative_depth
from occ_order.draw.predictions import instance_label
from occ_order.draw.verdicts import edge_verdicts
from occ_order.files import atomic_writer
from occ_order.formats.checks import size_mismatch
from occ_order.order import UNKNOWN, graph, io
from occ_order.targets import oriented_boundary

KINDS = ("image", "instances", "whole", "boundary", "graph", "nearness", "depth", "check")
"""Panels that :func:`panels` can draw, in their order on a sheet."""

_GAP = 14


def panels(
    image: Mapping[str, Any],
    photo: np.ndarray,
    *,
    truth: Mapping[str, Any] | None = None,
    class_names: Mapping[int, str] | None = None,
    kinds: tuple[str, ...] = KINDS,
    palette: str = "default",
) -> dict[str, tuple[str, np.ndarray]]:
    """Images of one image of ``order_results.json``, or of a data set's record in that form.

    Args:
        image: dict of one image.
        image: uint8 (H, W, 3) RGB.
        truth: annotation in the same form, for the comparison.
        class_names: names by category id.
        kinds: panels wanted, of `KINDS`; those for which the image has no data are left out.
        palette: colours of the boundary, see `draw_oriented_boundary`.

    Returns:
        kind -> (heading, image).

    Raises:
        ValueError: names the image; its image has another size.
    """
    drawn = _Drawing(image, photo, class_names, palette)
    makers = {
        "image": lambda: ("image", drawn.large()),
        "instances": drawn.instances,
        "whole": drawn.whole,
        "boundary": drawn.boundary,
        "graph": drawn.graph,
        "nearness": drawn.nearness,
        "depth": drawn.depth,
        "check": lambda: None if truth is None else drawn.check(truth),
    }
    made = {kind: makers[kind]() for kind in KINDS if kind in kinds}
    return {kind: panel for kind, panel in made.items() if panel is not None}


class _Drawing:
    """One image with its decoded masks; every method draws one panel, None without its data."""

    def __init__(
        self,
        image: Mapping[str, Any],
        photo: np.ndarray,
        class_names: Mapping[int, str] | None,
        palette: str,
    ) -> None:
        self.palette = palette
        self.photo = check_image(photo)
        size = image["height"], image["width"]
        if self.photo.shape[:2] != size:
            stated = size_mismatch(size, self.photo.shape[:2])
            raise ValueError(f"image {image['image_id']!r}: the data {stated}")
        self.image, self.size, self.scale = image, size, display_scale(*size, target=480)
        self.modal = self._stack("segmentation")
        self.occlusion, self.depths, _ = io.matrices(image)
        self.names = [instance_label(i, class_names) for i in image["instances"]]

    def _stack(self, key: str) -> np.ndarray:
        return masks.decode_all([i[key] for i in self.image["instances"]], *self.size)

    def large(self) -> np.ndarray:
        """The image itself."""
        return enlarge(self.photo, self.scale)

    def instances(self) -> tuple[str, np.ndarray]:
        return "visible parts", draw_instances(self.photo, self.modal, scale=self.scale)

    def whole(self) -> tuple[str, np.ndarray] | None:
        instances = self.image["instances"]
        if not instances or any("amodal_segmentation" not in i for i in instances):
            return None
        stack = self._stack("amodal_segmentation")
        return "whole objects", draw_instances(self.photo, stack, opacity=0.3, scale=self.scale)

    def boundary(self) -> tuple[str, np.ndarray] | None:
        if self.occlusion is None:
            return None
        ids = masks.paint(self.modal, occlusion=self.occlusion)
        _, orientation = oriented_boundary(ids, self.occlusion)
        drawn = draw_oriented_boundary(
            orientation, self.photo, scale=self.scale, legend=True, palette=self.palette
        )
        return "oriented boundary: colour = side of what is behind", drawn

    def graph(self) -> tuple[str, np.ndarray] | None:
        if self.occlusion is None:
            return None
        cuts = thumbnails(self.photo, self.modal)
        drawn = draw_order_graph(self.occlusion, names=self.names, images=cuts)
        unknown = int((np.triu(self.occlusion | self.occlusion.T) == UNKNOWN).sum())
        return "who hides whom" + (f" ({unknown:,} pairs not annotated)" if unknown else ""), drawn

    def nearness(self) -> tuple[str, np.ndarray] | None:
        if self.occlusion is None:
            return None
        if (self.occlusion == UNKNOWN).any() and not (self.occlusion == 1).any():
            return None  # all would be drawn as equally near, of which nothing is known
        return "relative depth by occlusion", self._ordered(self.occlusion)

    def depth(self) -> tuple[str, np.ndarray] | None:
        if self.depths is None:
            return None
        return "depth order", self._ordered((self.depths == 1).astype(np.int8))

    def _ordered(self, edges: np.ndarray) -> np.ndarray:
        labels = [str(k + 1) for k in range(len(self.modal))]
        return draw_relative_depth(
            self.modal, graph.relative_depth(edges), scale=self.scale, labels=labels
        )

    def check(self, truth: Mapping[str, Any]) -> tuple[str, np.ndarray] | None:
        annotated = io.matrices(truth)[0]
        if annotated is None or self.occlusion is None:
            return None
        stack = masks.decode_all([i["segmentation"] for i in truth["instances"]], *self.size)
        scores = np.array([i["score"] for i in self.image["instances"]], float)
        verdicts = edge_verdicts(
            stack, annotated, self.modal, self.occlusion, scores=scores, touching=False
        )
        drawn = draw_graph_on_image(
            self.photo, stack, annotated, verdicts=verdicts, scale=self.scale
        )
        return "annotated orders (numbers of the annotation)", drawn


def sheet(
    parts: Mapping[str, tuple[str, np.ndarray]], *, title: str = "", columns: int = 3
) -> np.ndarray:
    """Puts panels on one sheet.

    Args:
        parts: of :func:`panels`; none gives the title alone.
        title: line on top.
        columns: panels beside each other.

    Returns:
        image.
    """
    framed = [_framed(heading, photo) for heading, photo in parts.values()]
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
    """A file name without ending for the `number`-th image, whatever the image is called.

    Args:
        number: makes it unique.
        name: any text.

    Returns:
        Digits, an underscore, and what of the name is letters, digits, "-" and "_".
    """
    stem = PurePosixPath(name.replace("\\", "/")).stem
    return f"{number:05d}_{re.sub(r'[^0-9A-Za-z_-]+', '_', stem)[:60]}".rstrip("_")


def save_panels(
    stem: str | os.PathLike,
    parts: Mapping[str, tuple[str, np.ndarray]],
    *,
    title: str = "",
    separate: bool = False,
) -> list[Path]:
    """Writes panels as PNG.

    Args:
        stem: path without ending; its folder is made if need be.
        parts: of :func:`panels`.
        title: line on top of the sheet.
        separate: one file ``stem_kind.png`` for each panel instead of one sheet ``stem.png``.

    Returns:
        The files written.
    """
    stem = Path(stem)
    images = {stem.name: sheet(parts, title=title)}
    if separate:
        images = {f"{stem.name}_{kind}": photo for kind, (_, photo) in parts.items()}
    for name, photo in images.items():
        with atomic_writer(stem.with_name(f"{name}.png"), "wb", sync=False) as file:
            Image.fromarray(photo).save(file, format="PNG", compress_level=4)
    return [stem.with_name(f"{name}.png") for name in images]
