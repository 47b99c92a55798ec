"""Plot of the order statistics of a data set, as InstaOrder's Figures 4 and 5."""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.axes import Axes

from occ_order.draw.canvas import figure_image, new_figure
from occ_order.draw.curves import SERIES_COLORS


def draw_statistics(statistics: dict[str, Any], *, title: str = "") -> np.ndarray:
    """Plot instances per image, types of order, agreement and the two conditional tables.

    Args:
        statistics: result of `occ_order.formats.statistics.order_statistics`.
        title: title of the figure.

    Returns:
        Image uint8 (H, W, 3); panels without data are empty.
    """
    figure = new_figure(1180, 720)
    figure.suptitle(title, fontsize=12)
    panels = figure.subplots(2, 3)
    _bars(panels[0, 0], "instances per image", statistics["instances_per_image"], "images")
    types = {**statistics["occlusion_types"], **statistics["depth_types"]}
    _bars(panels[0, 1], "types of order", types, "share of annotated pairs")
    _bars(panels[0, 2], "workers until two agreed", statistics["agreement"]["all"], "share")
    _heat(panels[1, 0], "P(depth | occlusion)", statistics["depth_given_occlusion"])
    _heat(panels[1, 1], "P(occlusion | depth)", statistics["occlusion_given_depth"])
    meeting = {
        f"{kind} {name}": share
        for kind, shares in statistics.get("meeting", {}).items()
        for name, share in shares.items()
        if share is not None
    }
    _bars(panels[1, 2], "masks that meet", meeting, "share")
    figure.subplots_adjust(left=0.1, right=0.985, top=0.91, bottom=0.16, wspace=0.5, hspace=0.75)
    return figure_image(figure, sharpness=1.5)


def _bars(axes: Axes, title: str, values: dict[Any, float | None], label: str) -> None:
    known = {str(name): value for name, value in values.items() if value}
    axes.set_title(title, fontsize=10)
    axes.bar(range(len(known)), list(known.values()), color=SERIES_COLORS[0], width=0.7)
    names = [name.replace("_", "\n") for name in known]
    many = len(known) > 5 and max(map(len, names)) > 3
    axes.set_xticks(range(len(known)), names, fontsize=7, rotation=60 if many else 0)
    axes.set_ylabel(label, fontsize=8)
    axes.tick_params(axis="y", labelsize=7)
    axes.spines[["top", "right"]].set_visible(False)


def _heat(axes: Axes, title: str, table: dict[str, dict[str, float | None]]) -> None:
    axes.set_title(title, fontsize=10)
    rows = {name: row for name, row in table.items() if None not in row.values()}
    columns = list(next(iter(table.values())))
    columns = [name for name in columns if any(row[name] for row in rows.values())]
    axes.set_yticks(range(len(rows)), list(rows), fontsize=7)
    axes.set_xticks(range(len(columns)), columns, fontsize=7, rotation=60)
    if not rows:
        return
    values = np.array([[row[name] for name in columns] for row in rows.values()])
    axes.imshow(values, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for (y, x), value in np.ndenumerate(values):
        color = "white" if value > 0.55 else "black"
        axes.text(x, y, f"{value:.2f}", ha="center", va="center", fontsize=7, color=color)
