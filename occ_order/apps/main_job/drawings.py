"""Figures of the report: inputs, predictions and their comparison with ground truth.

Shape shorthand: ``H, W`` image size, ``N`` ground-truth instances, ``P`` predicted instances.
"""

from __future__ import annotations

from collections.abc import Mapping

import cv2
import numpy as np

from occ_order.apps.main_job.examples import Example
from occ_order.apps.main_job.sentences import levels_of
from occ_order.apps.report import ReportImage, encode_image
from occ_order.draw.boundaries import draw_oriented_boundary
from occ_order.draw.canvas import INK, PAPER, display_scale, enlarge, join, text_width, write
from occ_order.draw.colors import DIRECTION_COLORS, depth_colors
from occ_order.draw.graphs import draw_order_graph, thumbnails
from occ_order.draw.image_panels import Panel, labels_of, panels
from occ_order.draw.levels import draw_levels, draw_overlaps
from occ_order.draw.maps import draw_instances, draw_relative_depth, draw_semantic
from occ_order.draw.verdicts import MatchedLabels, name_after
from occ_order.instances import OrderedInstances
from occ_order.order import nearness
from occ_order.targets.oriented_boundary import DIRECTIONS

SHARPNESS = {"occlusion_graph": 1.5, "depth_graph": 1.5}
"""Panel -> image pixels per CSS pixel; 1 for the others."""

FLAT = ("occlusion_graph", "depth_graph", "relative_depth")
"""Panels with few colours, encoded as PNG."""


def encoded(parts: Mapping[str, Panel], key: str) -> dict[str, ReportImage]:
    """Encode panels for a report, with file names that start with `key`."""
    return {
        kind: encode_image(
            panel.image,
            f"{key}_{kind}",
            panel.alt,
            sharpness=SHARPNESS.get(kind, 1.0),
            flat=kind in FLAT,
        )
        for kind, panel in parts.items()
    }


def compared(
    example: Example, found: OrderedInstances, *kinds: str, key: str = ""
) -> dict[str, ReportImage]:
    """Return panels of a prediction, with labels and verdicts from the ground truth.

    Args:
        example: the ground truth.
        found: P predicted instances.
        kinds: kinds of panels, see `occ_order.draw.image_panels`.
        key: prefix of the file names; default: the key of the example.
    """
    truth = example.truth
    parts = panels(found, example.image, truth, kinds=kinds, legend=False, touching=True)
    return encoded(parts, key or example.key)


def example_images(
    example: Example, occludes: np.ndarray, found: OrderedInstances
) -> dict[str, ReportImage]:
    """Return the figures of one example of the CRF.

    Args:
        example: the ground truth.
        occludes: bool (4, H, W), oriented boundary, the input of the CRF.
        found: instances predicted by the CRF.

    Returns:
        "image", "overlay", "relative_depth", "check" of the prediction, "annotated" (ground truth)
        and the inputs "semantic" and "boundary".
    """
    key, truth = example.key, example.truth
    kinds = ("image", "overlay", "relative_depth", "check")
    annotated = encoded(panels(truth, example.image, kinds=["overlay"]), f"{key}_annotated")
    return {
        **compared(example, found, *kinds),
        "annotated": annotated["overlay"],
        "semantic": class_map(example, np.any(truth.modal, axis=0).astype(np.uint8)),
        "boundary": boundary_image(example, occludes, f"{key}_boundary"),
    }


def class_map(example: Example, foreground: np.ndarray) -> ReportImage:
    """Draw a class map, uint8 (H, W), over the image."""
    image = example.image
    drawn = draw_semantic(foreground, image=image, scale=display_scale(*image.shape[:2]))
    alt = "Class map: things in blue, background in grey."
    return encode_image(drawn, f"{example.key}_semantic", alt)


def boundary_image(example: Example, occludes: np.ndarray, name: str) -> ReportImage:
    """Draw an oriented boundary, bool (4, H, W), over the faded image."""
    image = example.image
    scale = display_scale(*image.shape[:2])
    drawing = draw_oriented_boundary(occludes, image, scale=scale, thickness=3.5)
    alt = "Occlusion boundaries in four colours, by the side on which the thing behind lies."
    return encode_image(drawing, name, alt)


def level_images(example: Example) -> dict[str, ReportImage]:
    """Return the figures "amodal", "overlaps" and "levels"; empty without amodal masks."""
    truth = example.truth
    if truth.amodal is None:
        return {}
    levels, names = levels_of(example), list(truth.names or [])
    hidden = int((levels > 0).any((1, 2)).sum())
    whole = truth.replace(amodal=levels >= 0)
    return {
        **encoded(panels(whole, example.image, kinds=["amodal"]), example.key),
        "overlaps": encode_image(
            draw_overlaps(levels >= 0, scale=display_scale(*truth.size)),
            f"{example.key}_overlaps",
            "How many whole things lie at each pixel, one behind the other.",
            flat=True,
        ),
        "levels": encode_image(
            draw_levels(example.image, levels, names=names),
            f"{example.key}_levels",
            f"Levels of each thing of which something is hidden ({hidden} of {len(levels)}): "
            "yellow where it is visible, darker with every thing in front of it.",
        ),
    }


def _named(example: Example, found: OrderedInstances) -> MatchedLabels:
    return name_after(*labels_of(example.truth), example.truth.modal, found.modal, found.scores)


def draw_banner(
    example: Example,
    occludes: np.ndarray,
    found: OrderedInstances,
    *,
    width: int = 1600,
) -> np.ndarray:
    """Draw a row of five panels: image, oriented boundary, instances, relative depth, graph.

    Args:
        example: ground truth, preferably of a square image with fewer than ten instances.
        occludes: bool (4, H, W), oriented boundary.
        found: instances predicted by the CRF.
        width: width of the banner in pixels.

    Returns:
        uint8 (about width / 4, width, 3) RGB.
    """
    gap, margin = 18, 14
    side = (width - 2 * margin - 4 * gap) // 5
    labels = _named(example, found)
    scale = 2 * max(1, -(-side // max(example.image.shape[:2])))
    large = scale * max(example.image.shape[:2])  # drawn larger than shown, for smooth outlines
    place, known = nearness(found.occlusion)
    parts = {
        "image": enlarge(example.image, scale),
        "oriented boundaries": draw_oriented_boundary(
            occludes, example.image, scale=scale, thickness=3.4 * large / side
        ),
        "instances": draw_instances(
            example.image, found.modal, labels=labels.labels, colors=labels.colors,
            scale=scale, label_size=round(18 * large / side),
        ),
        "relative depth": draw_relative_depth(
            found.modal, place, known=known, scale=scale, legend=False,
            labels=labels.labels, label_size=round(18 * large / side),
        ),
    }  # fmt: skip
    fitted = {name: _fit(drawing, side, side) for name, drawing in parts.items()}
    height = max(panel.shape[0] for panel in fitted.values())
    fitted["who occludes whom"] = _graph_panel(example, found, labels, side, height)
    keys = {
        "oriented boundaries": [*zip(DIRECTIONS, DIRECTION_COLORS, strict=True)],
        "relative depth": [("near", depth_colors(2)[0]), ("far", depth_colors(2)[1])],
    }
    columns = [
        join([_heading(name, side), panel, _color_words(keys.get(name, []), side)], axis=0, gap=6)
        for name, panel in fitted.items()
    ]
    row = join(columns, gap=gap)
    drawing = np.full((row.shape[0] + 2 * margin, width, 3), PAPER, np.uint8)
    left = (width - row.shape[1]) // 2
    drawing[margin : margin + row.shape[0], left : left + row.shape[1]] = row
    return drawing


def _fit(drawing: np.ndarray, width: int, height: int) -> np.ndarray:
    """Resize an image to fit into width x height pixels, keeping its aspect ratio."""
    factor = min(width / drawing.shape[1], height / drawing.shape[0])
    size = (max(1, round(drawing.shape[1] * factor)), max(1, round(drawing.shape[0] * factor)))
    flag = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(drawing, size, interpolation=flag)


def _graph_panel(
    example: Example, found: OrderedInstances, labels: MatchedLabels, width: int, height: int
) -> np.ndarray:
    occlusion = found.occlusion
    assert occlusion is not None  # the CRF predicts it

    def draw(sharpness: float) -> np.ndarray:
        return draw_order_graph(
            occlusion, labels=labels.labels, colors=labels.colors,
            images=thumbnails(example.image, found.modal, size=128), sharpness=sharpness,
            compact=True,
        )  # fmt: skip

    rough = draw(0.5)
    sharpness = 0.5 * min(width / rough.shape[1], height / rough.shape[0])
    panel = np.full((height, width, 3), PAPER, np.uint8)
    graph = _fit(draw(2 * sharpness), width, height)
    top, left = (height - graph.shape[0]) // 2, (width - graph.shape[1]) // 2
    panel[top : top + graph.shape[0], left : left + graph.shape[1]] = graph
    return panel


def _color_words(entries: list[tuple[str, np.ndarray]], width: int) -> np.ndarray:
    """Draw a centred colour legend: a bar of colour before each word."""
    size, bar, gap = 17, 20, 12
    drawing = np.full((26, width, 3), PAPER, np.uint8)
    widths = [bar + 5 + text_width(word, size, bold=False) for word, _ in entries]
    at = (width - sum(widths) - gap * (len(entries) - 1)) // 2
    for (word, color), wide in zip(entries, widths, strict=True):
        drawing[10:17, max(at, 0) : max(at + bar, 0)] = color
        write(drawing, word, (at + bar + 5, 13), size=size, color=INK)
        at += wide + gap
    return drawing


def _heading(text: str, width: int) -> np.ndarray:
    drawing = np.full((40, width, 3), PAPER, np.uint8)
    write(drawing, text, (width / 2, 20), size=25, color=INK, anchor="mm")
    return drawing
