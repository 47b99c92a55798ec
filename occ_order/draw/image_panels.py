"""Panels of one image: instances, occlusion and depth order, layers, amodal masks, comparison.

Used by `occ-order predict`, the visualisation hook of training, `occ-order report`,
`OrderedInstances.plot` and the report of the main demo.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import cv2
import networkx as nx
import numpy as np

from occ_order import masks
from occ_order.draw.boundaries import draw_oriented_boundary
from occ_order.draw.canvas import check_image, display_scale, enlarge
from occ_order.draw.colors import EDGE_STYLES, instance_colors
from occ_order.draw.graphs import draw_graph_on_image, draw_order_graph, thumbnails
from occ_order.draw.levels import draw_sem_dist
from occ_order.draw.maps import draw_instances, draw_relative_depth
from occ_order.draw.verdicts import edge_verdicts, name_after
from occ_order.draw.whole import draw_amodal, draw_layers
from occ_order.formats.checks import size_mismatch
from occ_order.formats.layered_image import front_to_back
from occ_order.instances import OrderedInstances
from occ_order.order import UNKNOWN, nearness
from occ_order.order.encoding import CLOSER, EQUAL
from occ_order.order.graph import group_labels
from occ_order.panels import PANELS
from occ_order.targets import oriented_boundary

LONG_SIDE = 640
"""Target longer side of a panel in pixels; images larger than twice that are downscaled, so that
labels on them are legible."""

MOST_ARROWS = 60
"""Maximum number of arrows in an occlusion graph; of more, the transitive reduction is drawn."""

_LONG_ID = 4  # length of an id that does not fit into a node


class Panel(NamedTuple):
    """One drawing.

    Attributes:
        heading: short heading.
        image: uint8 (h, w, 3) RGB.
        alt: alternative text.
    """

    heading: str
    image: np.ndarray
    alt: str


def panels(
    result: OrderedInstances,
    image: np.ndarray,
    truth: OrderedInstances | None = None,
    *,
    kinds: Sequence[str] = PANELS,
    palette: str = "default",
    legend: bool = True,
    touching: bool = False,
) -> dict[str, Panel]:
    """Draw the panels of a prediction or of ground truth.

    Instances are labelled by their ids if these are short, otherwise 1 .. N. With `truth`, they
    have the labels and colours of the ground-truth instances that they match.

    Args:
        result: N instances.
        image: uint8 (H, W, 3) RGB, or (H, W).
        truth: ground truth of the same image, to compare with.
        kinds: panels to draw, of `PANELS`; those without data are left out.
        palette: colours of the boundary, see `draw_oriented_boundary`.
        legend: add legends to "relative_depth", "boundary" and "check".
        touching: compare only the orders of ground-truth instances that touch.

    Returns:
        kind -> panel, in the order of `PANELS`:

        * always "image", and "overlay", the instances on it;
        * with an occlusion order "occlusion", arrows on the image, "occlusion_graph", and
          "boundary", the oriented boundary;
        * with a depth order "depth_graph", its transitive reduction;
        * with either order "relative_depth", with instances of unknown order in grey, and "layers";
        * "amodal" with amodal masks; "levels" with sem-dist maps;
        * with `truth`, "check": verdicts on the ground-truth orders.

    Raises:
        ValueError: the image or the ground truth has another size; names the image.
    """
    drawing = _Drawing(result, image, truth, palette, legend, touching)
    makers: Mapping[str, Callable[[], Panel | None]] = {
        kind: getattr(drawing, kind) for kind in PANELS if kind in kinds
    }
    made = {kind: make() for kind, make in makers.items()}
    return {kind: panel for kind, panel in made.items() if panel is not None}


class _Drawing:
    """One image and its masks at display size; one method per kind, None if there are no data."""

    def __init__(
        self,
        result: OrderedInstances,
        image: np.ndarray,
        truth: OrderedInstances | None,
        palette: str,
        legend: bool,
        touching: bool,
    ) -> None:
        photo = check_image(image)
        where = f"image {result.image_id!r}"
        if photo.shape[:2] != result.size:
            raise ValueError(f"{where}: the data {size_mismatch(result.size, photo.shape[:2])}")
        if truth is not None and truth.size != result.size:
            raise ValueError(f"{where}: the annotation {size_mismatch(truth.size, result.size)}")
        self.photo, self.result = shrunk(photo, result)
        self.truth = None if truth is None else shrunk(photo, truth)[1]
        self.palette, self.legend, self.touching = palette, legend, touching
        self.scale = display_scale(*self.photo.shape[:2], target=LONG_SIDE)
        self.labels, self.names = labels_of(result)
        self.colors = instance_colors(len(result))
        if truth is not None:
            known = name_after(*labels_of(truth), truth.modal, result.modal, result.scores)
            self.labels, self.colors = known.labels, known.colors
            self.names = list(result.names) if result.names else known.names
        self.sizes = label_sizes(result.modal)
        self.marks: dict[str, Any] = {"labels": self.labels, "colors": self.colors}
        self.cuts: list[np.ndarray] | None = None

    def image(self) -> Panel:
        return Panel("image", enlarge(self.photo, self.scale), "The image itself.")

    def overlay(self) -> Panel:
        drawn = draw_instances(
            self.photo, self.result.modal, scale=self.scale, label_size=self.sizes, **self.marks
        )
        return Panel("instances", drawn, f"{_counted(self.result)}, numbered, in their colours.")

    def occlusion(self) -> Panel | None:
        if self.result.occlusion is None:
            return None
        drawn = draw_graph_on_image(
            self.photo, self.result.modal, self.result.occlusion, scale=self.scale, **self.marks
        )
        alt = f"{self._edges()} arrows on the image, each from an instance to what it occludes."
        return Panel("who occludes whom", drawn, alt)

    def occlusion_graph(self) -> Panel | None:
        occlusion = self.result.occlusion
        if occlusion is None:
            return None
        unknown = int((np.triu(occlusion | occlusion.T) == UNKNOWN).sum())
        notes = [f"{unknown:,} pairs not known"] if unknown else []
        shown = occlusion
        if self._edges() > MOST_ARROWS:
            shown = np.where(occlusion == 1, direct_arrows(occlusion == 1), occlusion)
            rest = self._edges() - int((shown == 1).sum())
            notes += [f"{rest:,} arrows beside longer ways left out"] if rest else []
        heading = "graph of occlusion" + (f" ({'; '.join(notes)})" if notes else "")
        alt = f"{int((shown == 1).sum())} arrows, each from an instance to what it occludes."
        return Panel(heading, self._graph(shown), alt)

    def depth_graph(self) -> Panel | None:
        depth = self.result.depth
        if depth is None:
            return None
        drawn = self._graph(
            direct_arrows(depth == CLOSER), overlap=self.result.overlap, equal=depth == EQUAL
        )
        alt = "Arrows, each from an instance to one that is farther; a double line: equally far."
        return Panel("graph of depth", drawn, alt)

    def relative_depth(self) -> Panel | None:
        if not self._ordered():
            return None
        place, known = nearness(self.result.occlusion, self.result.depth)
        drawn = draw_relative_depth(
            self.result.modal,
            place,
            known=known,
            scale=self.scale,
            labels=self.labels,
            label_size=self.sizes,
            legend=self.legend,
        )
        alt = "The instances, from near (yellow) to far (dark blue); grey: no order is known."
        return Panel("relative depth", drawn, alt)

    def amodal(self) -> Panel | None:
        if self.result.amodal is None or not len(self.result):
            return None
        drawn = draw_amodal(
            self.photo,
            self.result.modal,
            self.result.amodal,
            scale=self.scale,
            label_size=self.sizes,
            **self.marks,
        )
        return Panel("whole objects", drawn, "The instances as wholes; hidden parts are striped.")

    def layers(self) -> Panel | None:
        if not self._ordered():
            return None
        layer = front_to_back(self.result.occlusion, self.result.depth)[1]
        drawn = draw_layers(
            self.photo, self.result.modal, layer, amodal=self.result.amodal, **self.marks
        )
        return Panel("layers, from the front", drawn, "The instances of each layer in a tile.")

    def levels(self) -> Panel | None:
        if self.result.sem_dist is None:
            return None
        drawn = draw_sem_dist(self.photo, self.result.sem_dist)
        return Panel("levels of whole objects", drawn, "Behind how many others each part lies.")

    def boundary(self) -> Panel | None:
        if self.result.occlusion is None:
            return None
        ids = masks.paint(self.result.modal, occlusion=self.result.occlusion)
        _, orientation = oriented_boundary(ids, self.result.occlusion)
        drawn = draw_oriented_boundary(
            orientation, self.photo, scale=self.scale, legend=self.legend, palette=self.palette
        )
        heading = "oriented boundary: colour = side of what is behind"
        return Panel(heading, drawn, "Boundaries, coloured by the side of what is behind.")

    def check(self) -> Panel | None:
        truth, result = self.truth, self.result
        if truth is None or truth.occlusion is None or result.occlusion is None:
            return None
        verdicts = edge_verdicts(
            truth.modal,
            truth.occlusion,
            result.modal,
            result.occlusion,
            scores=result.scores,
            touching=self.touching,
        )
        drawn = draw_graph_on_image(
            self.photo,
            truth.modal,
            truth.occlusion,
            labels=labels_of(truth)[0],
            verdicts=verdicts,
            scale=self.scale,
            legend=self.legend,
        )
        said = [list(verdicts.values()).count(word) for word in EDGE_STYLES]
        alt = "Annotated orders: {} right, {} wrong, {} missed.".format(*said)
        return Panel("annotated orders as found", drawn, alt)

    def _ordered(self) -> bool:
        return self.result.occlusion is not None or self.result.depth is not None

    def _edges(self) -> int:
        return int(np.count_nonzero(self.result.occlusion == 1))

    def _graph(self, edges: np.ndarray, **more: Any) -> np.ndarray:
        if self.cuts is None:
            self.cuts = thumbnails(self.photo, self.result.modal)
        return draw_order_graph(edges, names=self.names, images=self.cuts, **self.marks, **more)


def shrunk(photo: np.ndarray, result: OrderedInstances) -> tuple[np.ndarray, OrderedInstances]:
    """Downscale an image and its instances to a longer side of at most 2 * `LONG_SIDE`.

    Args:
        photo: uint8 (H, W, 3).
        result: instances of that size.
    """
    factor = 2 * LONG_SIDE / max(*photo.shape[:2], 1)
    if factor >= 1:
        return photo, result
    height, width = (max(1, round(side * factor)) for side in photo.shape[:2])
    small = cv2.resize(photo, (width, height), interpolation=cv2.INTER_AREA)

    def resized(stack: np.ndarray) -> np.ndarray:
        made = [masks.resize_nearest(one, (height, width)) for one in stack]
        return np.array(made, stack.dtype).reshape(-1, height, width)

    sem_dist = result.sem_dist
    if sem_dist is not None:
        made = [cv2.resize(m, (width, height), interpolation=cv2.INTER_NEAREST) for m in sem_dist]
        sem_dist = np.array(made, np.float32).reshape(-1, height, width)
    return small, dataclasses.replace(
        result,
        size=(height, width),
        modal=resized(result.modal),
        amodal=None if result.amodal is None else resized(result.amodal),
        levels=None,
        sem_dist=sem_dist,
        disparity=None,
        image=None,
    )


def labels_of(result: OrderedInstances) -> tuple[list[str], list[str] | None]:
    """Return the labels of the instances, and their names for a graph.

    Returns:
        N labels: ids, or 1 .. N if an id is too long; N names, or None: class names, together with
        the ids if these are not the labels.
    """
    ids = [str(number) for number in result.ids]
    if all(len(text) < _LONG_ID for text in ids):
        return ids, list(result.names) if result.names else None
    return [str(k + 1) for k in range(len(ids))], [result.label(k) for k in range(len(ids))]


def label_sizes(modal: np.ndarray) -> list[int]:
    """Return the font size of each label, smaller for small instances so as not to cover them."""
    total = modal.shape[1] * modal.shape[2]
    return [13 if int(mask.sum()) < 0.006 * total else 17 for mask in modal]


def direct_arrows(relation: np.ndarray) -> np.ndarray:
    """Compute the transitive reduction of a relation: drop edges implied by longer paths.

    Args:
        relation: bool (N, N).

    Returns:
        int8 (N, N). Edges within a strongly connected component are all kept.
    """
    relation = np.asarray(relation, bool) & ~np.eye(len(relation), dtype=bool)
    group = group_labels(relation.astype(np.int8))
    first, second = group[:, None], group[None, :]
    outer = nx.DiGraph(group[np.argwhere(relation & (first != second))].tolist())
    kept = np.eye(group.max(initial=-1) + 1, dtype=bool)
    for edge in nx.transitive_reduction(outer).edges:
        kept[edge] = True
    return (relation & kept[first, second]).astype(np.int8)


def _counted(result: OrderedInstances) -> str:
    return f"{len(result)} instance{'' if len(result) == 1 else 's'}"
