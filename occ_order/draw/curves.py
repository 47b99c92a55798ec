"""Plots of accuracy over recall, such as the OAIR curve."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from matplotlib.ticker import PercentFormatter

from occ_order.draw.canvas import figure_image, new_figure

SERIES_COLORS = ("#0062c8", "#e25800", "#00945c", "#aa28a0", "#6e7680", "#b08900", "#1c2026")
"""Line colours in order of use; markers and line styles vary with them."""

_MARKERS = "osD^vPX"
_LINES = ("-", "--", "-.", ":")


def draw_accuracy_recall(
    curves: Mapping[str, Mapping[str, Any]],
    *,
    title: str = "",
    xlabel: str = "recall: annotated orders whose two instances were both found",
    ylabel: str = "accuracy: orders right among those",
    width: int = 620,
    height: int = 500,
    sharpness: float = 1.5,
) -> np.ndarray:
    """Plot occlusion-ordering accuracy over recall, one line per method (the OAIR curve).

    Args:
        curves: name -> {"recall": [...], "accuracy": [...]} with values in [0, 1]; points with NaN
            or None are skipped; a curve without points is listed in the legend only. An optional
            "style" (i, j) selects colour and marker i and line style j, for related methods; by
            default both follow the order of the curves. "again": True leaves a curve out of the
            legend, as for further seeds of a method.
        title: title of the plot.
        xlabel: label of the x axis.
        ylabel: label of the y axis.
        width: width in figure pixels.
        height: height in figure pixels.
        sharpness: image pixels per figure pixel.

    Returns:
        image (about height * sharpness, width * sharpness, 3). The recall axis ends at 1, or a
        little above the highest recall if all are below 0.5.

    Raises:
        ValueError: recall and accuracy of a curve differ in length.
    """
    figure = new_figure(width, height)
    axes = figure.add_subplot()
    highest = 0.0
    for k, (name, curve) in enumerate(curves.items()):
        recall = np.array([np.nan if v is None else v for v in curve["recall"]], float)
        accuracy = np.array([np.nan if v is None else v for v in curve["accuracy"]], float)
        if recall.shape != accuracy.shape:
            raise ValueError(
                f"curve {name!r}: {len(recall)} recalls but {len(accuracy)} accuracies"
            )
        keep = np.isfinite(recall) & np.isfinite(accuracy)
        highest = max(highest, recall[keep].max(initial=0.0))
        hue, dash = curve.get("style", (k, k))
        axes.plot(
            recall[keep], accuracy[keep], label="_" if curve.get("again") else name,
            color=SERIES_COLORS[hue % len(SERIES_COLORS)],
            marker=_MARKERS[hue % len(_MARKERS)], linestyle=_LINES[dash % len(_LINES)],
            markersize=5.5, linewidth=1.6, markeredgecolor="white", markeredgewidth=0.6,
        )  # fmt: skip
    end = 1.02 if highest >= 0.5 or not highest else 1.1 * highest
    axes.set(xlim=(-0.02 * end, end), ylim=(-0.02, 1.04), title=title)
    axes.set_xlabel(xlabel, fontsize=9.5)
    axes.set_ylabel(ylabel, fontsize=9.5)
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(PercentFormatter(1.0))
    axes.grid(color="#e3e6ea", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    listed = sum(not curve.get("again") for curve in curves.values())
    lines = -(-listed // 2)
    figure.subplots_adjust(
        left=74 / width, right=1 - 16 / width, top=1 - 34 / height,
        bottom=(62 + 19 * lines) / height,
    )  # fmt: skip
    if listed:
        figure.legend(
            loc="lower center", ncols=min(2, listed), fontsize=8.5, frameon=False,
            handlelength=3, columnspacing=2, borderaxespad=0.3,
        )  # fmt: skip
    return figure_image(figure, sharpness=sharpness)
