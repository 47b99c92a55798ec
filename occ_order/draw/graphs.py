"""Drawing of order graphs: in layers, over the image, and compared with ground truth.

Arrows point from the occluder to the occludee.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np
from matplotlib.lines import Line2D
from matplotlib.patches import FancyArrowPatch, FancyBboxPatch
from matplotlib.path import Path
from matplotlib.patheffects import Stroke

from occ_order.draw.canvas import check_image, check_masks, label_points, text_color
from occ_order.draw.colors import CYCLE_COLOR, EDGE_STYLES, instance_colors
from occ_order.draw.layout import Layout, layered_layout, order_edges
from occ_order.draw.pixel_figure import PixelFigure

_ARROW = "#39424e"
_LINES: dict[bool, str | tuple] = {
    False: "-",
    True: (0, (4, 2)),
}  # distinct and overlapping depth ranges


def thumbnails(image: np.ndarray, masks: np.ndarray, *, size: int = 96) -> list[np.ndarray]:
    """Crop a square thumbnail of each instance, with the background faded to near white.

    Args:
        image: image (H, W, 3).
        masks: bool (N, H, W).
        size: side of the thumbnails in pixels.

    Returns:
        N images (size, size, 3); plain grey for an empty mask.
    """
    image = check_image(image)
    masks = check_masks(masks, image.shape[:2])
    return [_thumbnail(image, mask, size) for mask in masks]


def _thumbnail(image: np.ndarray, mask: np.ndarray, size: int) -> np.ndarray:
    if not mask.any():
        return np.full((size, size, 3), 225, np.uint8)
    ys, xs = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    side = int(1.12 * max(np.ptp(ys), np.ptp(xs))) + 3
    y0, x0 = (ys[0] + ys[-1] + 1 - side) // 2, (xs[0] + xs[-1] + 1 - side) // 2
    window = tuple(slice(max(0, low), low + side) for low in (y0, x0))
    crop, inside = image[window], mask[window]
    faded = (crop * np.float32(0.12) + np.float32(255 * 0.88)).astype(np.uint8)
    shown = np.full((side, side, 3), 244, np.uint8)
    top, left = max(0, -y0), max(0, -x0)
    shown[top : top + crop.shape[0], left : left + crop.shape[1]] = np.where(
        inside[..., None], crop, faded
    )
    return cv2.resize(
        shown, (size, size), interpolation=cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
    )


def draw_order_graph(
    occ: np.ndarray,
    *,
    names: Sequence[str] | None = None,
    labels: Sequence[str] | None = None,
    images: Sequence[np.ndarray] | None = None,
    colors: np.ndarray | None = None,
    sharpness: float = 1.5,
    compact: bool = False,
    overlap: np.ndarray | None = None,
    equal: np.ndarray | None = None,
) -> np.ndarray:
    """Draw an occlusion or depth graph in layers: nearest on top, arrows from front to back.

    Instances on a common cycle share a row with an orange background and are connected by thick
    orange arrows. Instances without any relation are placed below, labelled "none known" if one of
    their pairs is unknown. In a depth graph, as in InstaOrder (Fig. 1d), pairs with overlapping
    depth ranges have dashed arrows, and pairs of equal depth are connected by a double line.

    Args:
        occ: (N, N); ``occ[i, j] == 1`` iff i occludes j; 0 and -1 are not drawn.
        names: N class names, written below the nodes; None = no names.
        labels: N short labels; default "1".."N".
        images: N square images (`thumbnails`) shown in the nodes; None = plain discs.
        colors: uint8 (N, 3), colours of the nodes; default `instance_colors`.
        sharpness: image pixels per figure pixel; text is about 11 figure pixels high.
        compact: smaller spacing, without the scale "in front" to "behind"; for small panels.
        overlap: (N, N), 1 where the depth ranges of a pair overlap; None = no overlaps.
        equal: (N, N), True where a pair has equal depth, symmetric; None = no equal pairs.

    Returns:
        Image; its size depends on the graph (roughly 90 x 110 figure pixels per node).

    Raises:
        ValueError: `occ` not square, `overlap` or `equal` of another size, or another number of
            names, labels, images or colours.
    """
    layout = layered_layout(occ)
    count = len(layout.positions)
    nothing = np.zeros((count, count), bool)
    dashed = nothing if overlap is None else np.asarray(overlap) == 1
    level = nothing if equal is None else np.triu(np.asarray(equal, bool), 1)
    for what, matrix in (("overlap", dashed), ("equal", level)):
        if matrix.shape != (count, count):
            raise ValueError(f"{what} must have shape {(count, count)}, got {matrix.shape}")
    labels = [str(k + 1) for k in range(count)] if labels is None else list(labels)
    colors = instance_colors(count) if colors is None else np.asarray(colors, np.uint8)
    for what, given in {"names": names, "labels": labels, "images": images}.items():
        if given is not None and len(given) != count:
            raise ValueError(f"{count} instances need {count} {what}, got {len(given)}")
    if colors.shape != (count, 3):
        raise ValueError(f"colors must have shape ({count}, 3), got {colors.shape}")
    pitch, radius = ((96, 112), 29.0) if count <= 24 else ((70, 88), 21.0)
    badge = 0.38 * radius
    if compact:
        pitch, radius, badge = (60, 66), 22.0, 11.5
    unknown = (np.asarray(occ)[layout.loose] == -1).any()
    apart = "none\nknown" if unknown else "no\nrelation"
    sheet, places = _graph_sheet(layout, pitch, radius, None if compact else apart, sharpness)
    if not count:
        sheet.text((sheet.width / 2, sheet.height / 2), "no instances", ha="center")
    _draw_groups(sheet, layout, places, radius)
    for edge in order_edges(occ):
        _draw_layered_edge(
            sheet, edge, layout, places, np.asarray(pitch), radius, _LINES[dashed[edge]]
        )
    for i, j in np.argwhere(level):
        _draw_double_line(sheet, places[i], places[j], radius, _LINES[dashed[i, j]])
    for k in range(count):
        drawing = None if images is None else images[k]
        _draw_node(sheet, places[k], radius, tuple(colors[k]), labels[k], drawing, badge)
        if names is not None:
            _draw_name(sheet, places[k], radius, names[k], pitch[0])
    return sheet.render()


def _graph_sheet(
    layout: Layout,
    pitch: tuple[float, float],
    radius: float,
    apart: str | None,
    sharpness: float,
) -> tuple[PixelFigure, np.ndarray]:
    """Create a figure for the graph, and the node centres in its pixels.

    `apart` is the label of nodes without relations; None = no scale and no label.
    """
    compact = apart is None
    positions = layout.positions if len(layout.positions) else np.zeros((1, 2))
    every = np.vstack([positions, *layout.routes.values()])
    low, high = every.min(0) * pitch, every.max(0) * pitch
    left, right, above, below = 74, radius + 26, radius + 16, radius + 30
    if compact:
        left, right, above, below = 14, radius + 4, radius + 4, radius + 4
    above += 22 if layout.groups else 0  # room for the arcs of a cycle in the top row
    width = max(high[0] - low[0] + left + radius + right, 0 if compact else 260)
    slack = (width - (high[0] - low[0] + left + radius + right)) / 2
    height = high[1] - low[1] + above + below
    sheet = PixelFigure(width, height, sharpness=sharpness)
    places = layout.positions * pitch - low + (left + radius + slack, above)
    if apart is not None:
        _draw_direction(sheet, layout, places, radius, apart)
    return sheet, places


def _draw_direction(
    sheet: PixelFigure, layout: Layout, places: np.ndarray, radius: float, apart: str
) -> None:
    """Draw the scale on the left: "in front" at the top row, "behind" at the last one."""
    ordered = places[~layout.loose] if len(places) else places
    style = {"ha": "center", "va": "center", "fontsize": 8.5, "color": "#6e7680"}
    if len(ordered) and np.ptp(ordered[:, 1]) > 0:
        top, bottom = ordered[:, 1].min(), ordered[:, 1].max()
        sheet.text((34, top), "in front", **style)
        sheet.text((34, bottom), "behind", **style)
        sheet.add(_arrow((34, top + 12), (34, bottom - 12), "#b6bcc4", 1.2))
    if layout.loose.any() and not layout.loose.all():
        y = places[layout.loose, 1].min()
        line = y - radius - 24
        sheet.add(Line2D([16, sheet.width - 16], [line, line], color="#d5d9de", lw=0.8))
        sheet.text((34, y), apart, linespacing=1.1, **style)


def _draw_groups(sheet: PixelFigure, layout: Layout, places: np.ndarray, radius: float) -> None:
    for group in layout.groups:
        low, high = places[list(group)].min(0), places[list(group)].max(0)
        box = FancyBboxPatch(
            low - radius - 3,
            *(high - low + 2 * radius + 6),
            boxstyle="round,pad=6,rounding_size=18",
            facecolor="#fdeadb",
            edgecolor=CYCLE_COLOR,
            linewidth=1,
            zorder=0,
        )
        sheet.add(box)
        sheet.text(
            (high[0] + radius, low[1] - radius - 11), "cycle", color=CYCLE_COLOR, fontsize=8,
            ha="right", va="bottom",
        )  # fmt: skip


def _draw_layered_edge(
    sheet: PixelFigure,
    edge: tuple[int, int],
    layout: Layout,
    places: np.ndarray,
    pitch: np.ndarray,
    radius: float,
    line: str | tuple,
) -> None:
    """Draw one arrow: curved inside a cycle, otherwise a smooth line through its waypoints."""
    i, j = edge
    if any(i in group and j in group for group in layout.groups):
        distance = float(np.hypot(*(places[j] - places[i])))
        # An arc must clear the discs of members in between: its height is rad * distance / 2.
        rad = 0.32 if distance < 1.5 * pitch[0] else 2 * (radius + 9) / distance
        bend = f"arc3,rad={rad:.3f}"
        arrow = _arrow(
            places[i], places[j], CYCLE_COLOR, 2.4, shrink=radius, bend=bend, linestyle=line
        )
        sheet.add(arrow)
        return
    shift = places[0] - layout.positions[0] * pitch
    points = np.vstack([places[i], layout.routes[edge] * pitch + shift, places[j]])
    towards_start, towards_end = _unit(points[1] - points[0]), _unit(points[-1] - points[-2])
    if len(points) > 2:
        # Waypoints are at the height of the nodes in their row: leave and arrive almost vertically.
        towards_start = _unit(towards_start + (0, 0.8))
        towards_end = _unit(towards_end + (0, 0.8))
    points[0] = points[0] + towards_start * (radius + 1.5)
    points[-1] = points[-1] - towards_end * (radius + 3)
    path = _smooth_path(points)
    sheet.add(
        FancyArrowPatch(
            path=path, arrowstyle="-|>,head_length=6,head_width=3.4", color=_ARROW, lw=1.3,
            linestyle=line, zorder=1,
        )
    )  # fmt: skip


def _draw_double_line(
    sheet: PixelFigure, start: np.ndarray, end: np.ndarray, radius: float, line: str | tuple
) -> None:
    """Draw a slightly curved double line between two nodes, without arrowhead."""
    for color, width, style in ((_ARROW, 4.2, line), ("white", 1.8, "-")):
        patch = _arrow(
            start, end, color, width, shrink=radius, bend="arc3,rad=0.18", linestyle=style
        )
        patch.set_arrowstyle("-")
        patch.set_zorder(1)
        sheet.add(patch)


def _smooth_path(points: np.ndarray) -> Path:
    """Return a Catmull-Rom curve through the points as cubic Bezier segments."""
    if len(points) == 2:
        return Path(points, [Path.MOVETO, Path.LINETO])
    padded = np.vstack([points[0], points, points[-1]])
    vertices, codes = [points[0]], [Path.MOVETO]
    for k in range(1, len(padded) - 2):
        before, start, end, after = padded[k - 1 : k + 3]
        vertices += [start + (end - before) / 6, end - (after - start) / 6, end]
        codes += [Path.CURVE4] * 3
    return Path(np.array(vertices), codes)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.hypot(*vector)), 1e-9)


def _arrow(
    start: Sequence[float] | np.ndarray,
    end: Sequence[float] | np.ndarray,
    color: str,
    width: float,
    *,
    shrink: float = 0.0,
    bend: str = "arc3,rad=0",
    linestyle: str | tuple = "-",
) -> FancyArrowPatch:
    # shrinkA/B are in points (1/72 inch), drawing pixels in 1/100 inch.
    points = shrink * 0.72
    return FancyArrowPatch(
        tuple(start), tuple(end), arrowstyle="-|>,head_length=6,head_width=3.4", color=color,
        linewidth=width, linestyle=linestyle, shrinkA=points, shrinkB=points + 1.5,
        connectionstyle=bend, zorder=2, joinstyle="miter", capstyle="butt",
    )  # fmt: skip


def _draw_node(
    sheet: PixelFigure,
    place: np.ndarray,
    radius: float,
    color: tuple[int, int, int],
    label: str,
    drawing: np.ndarray | None,
    badge_radius: float,
) -> None:
    rgb = tuple(c / 255 for c in color)
    fill = rgb if drawing is None else (1, 1, 1)
    sheet.circle(place, radius, facecolor=fill, edgecolor=rgb, linewidth=2.6, zorder=3)
    if drawing is None:
        ink = tuple(c / 255 for c in text_color(color))
        sheet.text(place, label, ha="center", va="center_baseline", fontsize=radius * 0.42,
                  fontweight="bold", color=ink, zorder=5)  # fmt: skip
        return
    sheet.disc(drawing, place, radius - 1.2, zorder=4)
    badge = place + np.array([-1.0, 0.22]) * radius
    rim = {"facecolor": rgb, "edgecolor": "white", "linewidth": 1.2}
    sheet.circle(badge, badge_radius, zorder=5, **rim)
    letters = badge_radius * (0.68 if len(label) < 3 else 0.56)
    ink = tuple(c / 255 for c in text_color(color))
    sheet.text(badge, label, ha="center", va="center_baseline", fontsize=letters,
               fontweight="bold", color=ink, zorder=6)  # fmt: skip


def _draw_name(
    sheet: PixelFigure, place: np.ndarray, radius: float, name: str, room: float
) -> None:
    most = int(room / 6.4)
    name = " ".join(str(name).split())
    name = name if len(name) <= most else name[: most - 1] + "…"
    halo = [Stroke(linewidth=2.5, foreground="white")]
    for effects, z in ((halo, 6), ([], 7)):
        sheet.text((place[0], place[1] + radius + 4), name, ha="center", va="top", fontsize=8.2,
                  color="#1c2026", zorder=z, path_effects=effects or None)  # fmt: skip


def draw_graph_on_image(
    image: np.ndarray,
    masks: np.ndarray,
    occ: np.ndarray,
    *,
    labels: Sequence[str] | None = None,
    colors: np.ndarray | None = None,
    verdicts: Mapping[tuple[int, int], str] | None = None,
    scale: int = 1,
    sharpness: float = 1.0,
    legend: bool = True,
) -> np.ndarray:
    """Draw an order graph over the image: arrows from occluders to occludees.

    Args:
        image: image (H, W, 3).
        masks: bool (N, H, W); instances with an empty mask and their edges are not drawn.
        occ: (N, N); ``occ[i, j] == 1`` iff i occludes j.
        labels: N short labels; default "1".."N".
        colors: uint8 (N, 3); default `instance_colors`.
        verdicts: "correct" | "wrong" | "missed" for edges of `occ`, drawn in the line styles of
            `EDGE_STYLES`. Edges without a verdict are not drawn. None = one style for all edges.
        scale: integer scale factor.
        sharpness: image pixels per figure pixel.
        legend: with verdicts, add a legend of the line styles with counts below.

    Returns:
        Image of about (H * scale * sharpness, W * scale * sharpness, 3), taller with a legend.

    Raises:
        ValueError: incompatible shapes, or an unknown verdict.
    """
    from occ_order.draw.maps import draw_instances

    image = check_image(image)
    masks = check_masks(masks, image.shape[:2])
    edges = order_edges(occ)
    if len(np.asarray(occ)) != len(masks):
        raise ValueError(f"occ is for {len(np.asarray(occ))} instances, got {len(masks)} masks")
    unknown = set((verdicts or {}).values()) - set(EDGE_STYLES)
    if unknown:
        raise ValueError(f"verdicts must be among {sorted(EDGE_STYLES)}, got {sorted(unknown)}")
    labels = [str(k + 1) for k in range(len(masks))] if labels is None else list(labels)
    colors = instance_colors(len(masks)) if colors is None else np.asarray(colors, np.uint8)
    ground = draw_instances(
        image // 2 + 128, masks, labels=[""] * len(masks), colors=colors, opacity=0.3, scale=scale
    )
    if not ground.size:
        return ground
    legend = legend and verdicts is not None
    height, width = ground.shape[0] + (30 if legend else 0), ground.shape[1]
    sheet = PixelFigure(
        max(width, 330) if legend else width, height, sharpness=sharpness, origin=-0.5
    )
    sheet.image(ground)
    points = label_points(masks) * scale + (scale - 1) / 2
    for i, j in edges:
        if np.isfinite(points[[i, j]]).all() and (verdicts is None or (i, j) in verdicts):
            style = EDGE_STYLES[verdicts[i, j]] if verdicts is not None else {"color": "#1c2026"}
            _draw_arrow_on_image(sheet, points[i], points[j], style)
    for label, point, color in zip(labels, points, colors, strict=True):
        if np.isfinite(point).all():
            _draw_badge(sheet, point, label, tuple(color))
    if legend and verdicts is not None:
        _draw_verdict_legend(sheet, list(verdicts.values()))
    return sheet.render()


def _draw_arrow_on_image(
    sheet: PixelFigure, start: np.ndarray, end: np.ndarray, style: dict
) -> None:
    """Draw an arrow with a white outline, curved so that opposite arrows do not coincide."""
    bend = "arc3,rad=0.12"
    line = style.get("linestyle", "-")
    for color, width, kind in (("white", 5.6, "-"), (style["color"], 2.6, line)):
        patch = _arrow(start, end, color, width, shrink=13, bend=bend, linestyle=kind)
        if color == "white":
            patch.set_arrowstyle("-|>,head_length=6.6,head_width=4.2")
        sheet.add(patch)


def _draw_badge(
    sheet: PixelFigure, point: np.ndarray, label: str, color: tuple[int, int, int]
) -> None:
    rgb = tuple(c / 255 for c in color)
    ink = tuple(c / 255 for c in text_color(color))
    sheet.circle(point, 12.5, facecolor=rgb, edgecolor="white", linewidth=1.4, zorder=5)
    sheet.text(point, label, ha="center", va="center_baseline", fontsize=10, fontweight="bold",
              color=ink, zorder=6)  # fmt: skip


def _draw_verdict_legend(sheet: PixelFigure, verdicts: list[str]) -> None:
    handles = [
        Line2D([], [], color=style["color"], linestyle=style["linestyle"], linewidth=2.2,
               label=f"{style['text']} ({verdicts.count(name)})")
        for name, style in EDGE_STYLES.items()
    ]  # fmt: skip
    sheet.figure.legend(
        handles=handles, loc="lower left", ncols=3, frameon=False, fontsize=9.5,
        bbox_to_anchor=(0, 0), borderaxespad=0.15, handlelength=3, columnspacing=1.6,
    )  # fmt: skip
