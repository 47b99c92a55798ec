"""Images and sentences of the main job's report: what went in, what came out, what went wrong.

Shape shorthand: ``H, W`` image size, ``N`` annotated things, ``P`` instances found.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Protocol

import cv2
import numpy as np

from occ_order.apps.report import ReportImage, encode_image
from occ_order.draw.boundaries import draw_oriented_boundary
from occ_order.draw.canvas import INK, PAPER, display_scale, enlarge, join, text_width, write
from occ_order.draw.colors import DIRECTION_COLORS, EDGE_STYLES, depth_colors, instance_colors
from occ_order.draw.graphs import draw_graph_on_image, draw_order_graph, thumbnails
from occ_order.draw.levels import draw_levels, draw_overlaps
from occ_order.draw.maps import draw_instances, draw_relative_depth, draw_semantic
from occ_order.draw.predictions import draw_amodal
from occ_order.draw.verdicts import edge_verdicts, match_instances
from occ_order.masks import bordering_pairs
from occ_order.targets import order_from_levels, visibility_levels
from occ_order.targets.oriented_boundary import DIRECTIONS


class FoundInstances(Protocol):
    """What the drawing needs of a result of the CRF (`occ_order.crf.instances`)."""

    masks: np.ndarray
    scores: np.ndarray
    relative_depth: np.ndarray
    occlusion: np.ndarray


@dataclass
class Example:
    """One annotated image: what goes in.

    Attributes:
        key: name for files, unique in a report.
        title: heading.
        image_id: unique in a data set.
        image: image (H, W, 3).
        masks: bool (N, H, W), visible parts of the things.
        names: N class names.
        classes: int (N,), category ids.
        occlusion: int8 (N, N), 1 = row occludes column, -1 = not annotated.
        left_out: names of annotated regions that became background.
        amodal: bool (N, H, W), the whole things, hidden parts included; None where not annotated.
    """

    key: str
    title: str
    image_id: int
    image: np.ndarray
    masks: np.ndarray
    names: list[str]
    classes: np.ndarray
    occlusion: np.ndarray
    left_out: list[str] = field(default_factory=list)
    amodal: np.ndarray | None = None

    def judged_edges(self) -> np.ndarray:
        """bool (N, N): annotated one-way orders between things whose visible masks touch."""
        edges = (self.occlusion == 1) & ~(self.occlusion.T == 1)
        return edges & bordering_pairs(self.masks)


@dataclass(frozen=True)
class FoundLabels:
    """How the instances found are called in the images.

    Attributes:
        texts: "4" for the instance that matches annotated thing 4, "4b", "4c" for further pieces
            of it, "?" where nothing annotated lies.
        colors: uint8 (P, 3), the colour of the annotated thing.
        names: P class names.
    """

    texts: list[str]
    colors: np.ndarray
    names: list[str]


def label_found(example: Example, found: FoundInstances) -> FoundLabels:
    """Names the instances found after the annotated things that they are or belong to.

    Args:
        example: N annotated things.
        found: P instances.

    Returns:
        FoundLabels with P entries.
    """
    masks = found.masks
    matched = match_instances(example.masks, masks, scores=found.scores)
    thing_of = {int(p): g for g, p in enumerate(matched) if p >= 0}
    palette = instance_colors(len(example.names))
    pieces = dict.fromkeys(range(len(example.names)), 0)
    texts, colors, names = [], [], []
    for p, mask in enumerate(masks):
        overlap = example.masks[:, mask].sum(1)
        thing = thing_of.get(p, int(overlap.argmax()) if overlap.any() else -1)
        if thing < 0:
            texts.append("?")
            colors.append(np.array((120, 120, 120), np.uint8))
            names.append("nothing")
            continue
        if p in thing_of:
            texts.append(str(thing + 1))
        else:
            pieces[thing] += 1
            texts.append(f"{thing + 1}{_letter(pieces[thing])}")
        colors.append(palette[thing])
        names.append(example.names[thing])
    return FoundLabels(texts, np.array(colors, np.uint8).reshape(-1, 3), names)


def label_sizes(masks: np.ndarray) -> list[int]:
    """Font size for the number of each instance: small ones must not vanish under theirs."""
    total = masks.shape[1] * masks.shape[2]
    return [13 if int(mask.sum()) < 0.006 * total else 19 for mask in masks]


def _letter(count: int) -> str:
    return "abcdefghijklmnopqrstuvwxyz"[count] if count < 26 else f"#{count + 1}"


def example_images(
    example: Example, occludes: np.ndarray, found: FoundInstances
) -> dict[str, ReportImage]:
    """All images of one example.

    Args:
        example: what went in.
        occludes: bool (4, H, W), the boundary that went in.
        found: what the CRF made of it.

    Returns:
        "photo", "things", "semantic", "boundary", "instances", "depth", "graph", "check".
    """
    scale = display_scale(*example.image.shape[:2])
    labels = label_found(example, found)
    sizes = label_sizes(found.masks)
    key, image = example.key, example.image
    occupied = example.masks.any(0).astype(np.uint8)
    graph = draw_order_graph(
        found.occlusion,
        names=labels.names,
        labels=labels.texts,
        colors=labels.colors,
        images=thumbnails(image, found.masks),
        sharpness=1.5,
    )
    return {
        "photo": encode_image(enlarge(image, scale), f"{key}_photo", "The image itself."),
        "things": encode_image(
            draw_instances(
                image, example.masks, scale=scale, label_size=label_sizes(example.masks)
            ),
            f"{key}_things",
            f"The {len(example.names)} annotated things, numbered.",
        ),
        "semantic": encode_image(
            draw_semantic(occupied, image=image, scale=scale),
            f"{key}_semantic",
            "Class map: things in blue, background in grey.",
        ),
        "boundary": boundary_image(example, occludes, f"{key}_boundary"),
        "instances": encode_image(
            draw_instances(
                image,
                found.masks,
                labels=labels.texts,
                colors=labels.colors,
                scale=scale,
                label_size=sizes,
            ),
            f"{key}_instances",
            f"The {len(labels.texts)} instances found.",
        ),
        "depth": encode_image(
            draw_relative_depth(
                found.masks,
                found.relative_depth,
                labels=labels.texts,
                scale=scale,
                label_size=sizes,
                legend=False,
            ),
            f"{key}_depth",
            "The instances found, coloured from near (yellow) to far (dark blue).",
            flat=True,
        ),
        "graph": encode_image(
            graph,
            f"{key}_graph",
            "Occlusion graph: an arrow leads from each instance to what it occludes.",
            sharpness=1.5,
            flat=True,
        ),
        "check": check_image_of(example, found, f"{key}_check"),
    }


def boundary_image(example: Example, occludes: np.ndarray, name: str) -> ReportImage:
    """The oriented boundary (bool (4, H, W)) over the faded photograph."""
    scale = display_scale(*example.image.shape[:2])
    drawing = draw_oriented_boundary(occludes, example.image, scale=scale, thickness=3.5)
    alt = "Occlusion boundaries in four colours, by the side on which the thing behind lies."
    return encode_image(drawing, name, alt)


def levels_of(example: Example) -> np.ndarray:
    """int8 (N, H, W): `occ_order.targets.visibility_levels` of the whole things."""
    whole = example.masks if example.amodal is None else example.amodal | example.masks
    return visibility_levels(whole, example.occlusion, modal=example.masks)


def level_images(example: Example) -> dict[str, ReportImage]:
    """What lies behind the visible: "whole", "overlaps", "levels"; nothing without whole things."""
    if example.amodal is None:
        return {}
    key, image, levels = example.key, example.image, levels_of(example)
    scale = display_scale(*image.shape[:2])
    sizes = label_sizes(example.masks)
    hidden = int((levels > 0).any((1, 2)).sum())
    return {
        "whole": encode_image(
            draw_amodal(image, example.masks, levels >= 0, scale=scale, label_size=sizes),
            f"{key}_whole",
            "The annotated things as wholes; what others hide of them is striped.",
        ),
        "overlaps": encode_image(
            draw_overlaps(levels >= 0, scale=scale),
            f"{key}_overlaps",
            "How many whole things lie at each pixel, one behind the other.",
            flat=True,
        ),
        "levels": encode_image(
            draw_levels(image, levels, names=example.names),
            f"{key}_levels",
            f"Levels of each thing of which something is hidden ({hidden} of {len(levels)}): "
            "yellow where it is visible, darker with every thing in front of it.",
        ),
    }


def level_orders(example: Example) -> tuple[int, int]:
    """Annotated one-way orders between whole things that overlap: those that levels say, and all.

    Order is read off the levels as SLN does (`occ_order.targets.order_from_levels`).
    """
    levels = levels_of(example)
    whole = (levels >= 0).reshape(len(levels), int(np.prod(levels.shape[1:]))).astype(np.float32)
    edges = (example.occlusion == 1) & ~(example.occlusion.T == 1) & (whole @ whole.T > 0)
    return int((order_from_levels(levels)[edges] == 1).sum()), int(edges.sum())


def verdicts_of(example: Example, found: FoundInstances) -> dict[tuple[int, int], str]:
    """`edge_verdicts` of one example."""
    return edge_verdicts(
        example.masks, example.occlusion, found.masks, found.occlusion, scores=found.scores
    )


def check_image_of(example: Example, found: FoundInstances, name: str) -> ReportImage:
    """The annotated orders over the photograph, each drawn as right, wrong or missed."""
    scale = display_scale(*example.image.shape[:2])
    verdicts = verdicts_of(example, found)
    counts = {word: list(verdicts.values()).count(word) for word in EDGE_STYLES}
    drawing = draw_graph_on_image(
        example.image,
        example.masks,
        example.occlusion,
        verdicts=verdicts,
        scale=scale,
        legend=False,
    )
    return encode_image(
        drawing,
        name,
        f"Annotated orders: {counts['correct']} right, {counts['wrong']} wrong, "
        f"{counts['missed']} missed.",
    )


# ---------------------------------------------------------------- sentences


def explain(example: Example, found: FoundInstances, *, min_piece: int = 20) -> list[str]:
    """What a reader of one example should know: cut things, misses, wrong orders and why.

    Args:
        example: what went in.
        found: what the CRF made of it.
        min_piece: components of fewer pixels are not counted as pieces of a thing.

    Returns:
        sentences, the most frequent kinds first; empty where everything is as annotated.
    """
    sentences = _cut_things(example, min_piece)
    mutual = np.argwhere(np.triu((example.occlusion == 1) & (example.occlusion.T == 1)))
    for i, j in mutual:
        sentences.append(
            f"{_thing(example, i)} and {_thing(example, j)} occlude each other. One depth label "
            "per instance cannot say that: along their contact the boundary points both ways, "
            "the CRF joins the two, and the pair is not scored."
        )
    sentences += _unordered_contacts(example)
    matched = match_instances(example.masks, found.masks, scores=found.scores)
    for k in np.flatnonzero(matched < 0):
        sentences.append(
            f"{_thing(example, k)} has no counterpart: no instance found covers it with more than "
            "half intersection over union."
        )
    sentences += _wrong_orders(example, found, matched)
    if example.left_out:
        sentences.append(
            "Regions annotated as stuff became background: " + ", ".join(example.left_out) + "."
        )
    return sentences


def _thing(example: Example, index: int) -> str:
    return f"{index + 1} ({example.names[index]})"


def _cut_things(example: Example, min_piece: int) -> list[str]:
    cut = []
    for k, mask in enumerate(example.masks):
        _, _, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
        pieces = int((stats[1:, cv2.CC_STAT_AREA] >= min_piece).sum())
        if pieces > 1:
            cut.append(f"{_thing(example, k)} into {pieces}")
    if not cut:
        return []
    return [
        "Cut into several visible pieces by what stands in front: "
        + ", ".join(cut)
        + ". An instance is one connected piece here, by definition, so every piece comes out as "
        "an instance of its own."
    ]


def _unordered_contacts(example: Example) -> list[str]:
    known = (example.occlusion == 1) | (example.occlusion.T == 1)
    pairs = np.argwhere(np.triu(bordering_pairs(example.masks) & ~known))
    if not len(pairs):
        return []
    listed = ", ".join(f"{_thing(example, i)} and {_thing(example, j)}" for i, j in pairs)
    return [
        f"Touching, but neither hides the other: {listed}. There is no boundary between them in "
        "the map that was put in, so nothing keeps them apart."
    ]


def _wrong_orders(example: Example, found: FoundInstances, matched: np.ndarray) -> list[str]:
    verdicts = verdicts_of(example, found)
    reasons: dict[str, list[str]] = {}
    for (i, j), verdict in verdicts.items():
        if verdict != "wrong":
            continue
        front, back = found.relative_depth[matched[[i, j]]]
        if front == back:
            why = "both ended with the same depth label, so nothing says who is in front"
        elif front < back:
            why = "the labels say the opposite"
        else:
            why = (
                "the labels have the right order, but no chain of touching instances leads from "
                "one to the other (usually a thin strip or a lost piece lies between them)"
            )
        reasons.setdefault(why, []).append(f"{_thing(example, i)} before {_thing(example, j)}")
    return [f"Wrong: {', '.join(pairs)} – {why}." for why, pairs in reasons.items()]


# ---------------------------------------------------------------- banner


def draw_banner(
    example: Example,
    occludes: np.ndarray,
    found: FoundInstances,
    *,
    width: int = 1600,
) -> np.ndarray:
    """One row of five panels: image, oriented boundary, instances, relative depth, graph.

    Args:
        example: an image, best about square and with fewer than ten things.
        occludes: bool (4, H, W).
        found: what the CRF made of it.
        width: of the banner in pixels.

    Returns:
        image (about width / 4, width, 3).
    """
    gap, margin = 18, 14
    side = (width - 2 * margin - 4 * gap) // 5
    labels = label_found(example, found)
    scale = 2 * max(1, -(-side // max(example.image.shape[:2])))
    large = scale * max(example.image.shape[:2])  # drawn larger than shown, for smooth outlines
    panels = {
        "image": enlarge(example.image, scale),
        "oriented boundaries": draw_oriented_boundary(
            occludes, example.image, scale=scale, thickness=3.4 * large / side
        ),
        "instances": draw_instances(
            example.image, found.masks, labels=labels.texts, colors=labels.colors,
            scale=scale, label_size=round(18 * large / side),
        ),
        "relative depth": draw_relative_depth(
            found.masks, found.relative_depth, scale=scale, legend=False, labels=labels.texts,
            label_size=round(18 * large / side),
        ),
    }  # fmt: skip
    fitted = {name: _fit(drawing, side, side) for name, drawing in panels.items()}
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
    """Shrinks (or enlarges) an image into width x height, keeping its proportions."""
    factor = min(width / drawing.shape[1], height / drawing.shape[0])
    size = (max(1, round(drawing.shape[1] * factor)), max(1, round(drawing.shape[0] * factor)))
    flag = cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC
    return cv2.resize(drawing, size, interpolation=flag)


def _graph_panel(
    example: Example, found: FoundInstances, labels: FoundLabels, width: int, height: int
) -> np.ndarray:
    def draw(sharpness: float) -> np.ndarray:
        return draw_order_graph(
            found.occlusion, labels=labels.texts, colors=labels.colors,
            images=thumbnails(example.image, found.masks, size=128), sharpness=sharpness,
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
    """A centred row of words, each behind a bar of its colour."""
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
