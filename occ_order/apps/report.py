"""Self-contained HTML reports: one file that holds its images and needs no network."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import jinja2
import numpy as np
from markupsafe import Markup

from occ_order.draw.canvas import jpeg_bytes, png_bytes
from occ_order.draw.colors import DIRECTION_COLORS, EDGE_STYLES, depth_colors
from occ_order.targets.oriented_boundary import DIRECTIONS


@dataclass(frozen=True)
class ReportImage:
    """An encoded image with what the page says about it.

    Attributes:
        name: file name without folder; the ending says the format (.png or .jpg).
        data: the file's bytes.
        width: in pixels of the page (not of the file, which may be sharper).
        height: likewise.
        alt: what a reader who cannot see it needs to know.
    """

    name: str
    data: bytes
    width: int
    height: int
    alt: str

    def renamed(self, name: str) -> ReportImage:
        """Return the same image under another name (without ending)."""
        return replace(self, name=name + self.name[-4:])

    @property
    def mime(self) -> str:
        """Media type of `data`."""
        return "image/png" if self.name.endswith(".png") else "image/jpeg"


def encode_image(
    image: np.ndarray, name: str, alt: str, *, sharpness: float = 1.0, flat: bool = False
) -> ReportImage:
    """Encode an image for a report.

    Args:
        image: uint8 (H, W, 3) RGB.
        name: file name without ending.
        alt: text for readers who cannot see it.
        sharpness: file pixels per page pixel.
        flat: PNG (drawings, maps of flat colours); otherwise JPEG (photographs).

    Returns:
        ReportImage.
    """
    height, width = (round(side / sharpness) for side in image.shape[:2])
    if flat:
        return ReportImage(f"{name}.png", png_bytes(image, colors=256), width, height, alt)
    return ReportImage(f"{name}.jpg", jpeg_bytes(image), width, height, alt)


def figure_html(image: ReportImage, caption: str | Markup = "", *, css_class: str = "") -> Markup:
    """``<figure>`` with the image inside the page itself.

    Args:
        image: what to show.
        caption: text under it; plain strings are escaped, `Markup` is trusted.
        css_class: class of the figure.

    Returns:
        safe HTML.
    """
    source = f"data:{image.mime};base64,{base64.b64encode(image.data).decode('ascii')}"
    return Markup(
        '<figure class="{}"><img src="{}" width="{}" height="{}" alt="{}" loading="lazy">'
        "<figcaption>{}</figcaption></figure>"
    ).format(css_class, Markup(source), image.width, image.height, image.alt, caption)


def direction_key() -> Markup:
    """Return the four direction colours as coloured words, for captions."""
    words = (
        Markup('<span class="key"><i style="background:{}"></i>{}</span>').format(
            css_color(color), name
        )
        for name, color in zip(DIRECTIONS, DIRECTION_COLORS, strict=True)
    )
    return Markup(" ").join(words)


def verdict_key(counts: Mapping[str, int] | None = None) -> Markup:
    """Return the three line styles of edge verdicts as small drawings with words.

    Args:
        counts: verdict -> number written behind its word; None writes none.

    Returns:
        safe HTML.
    """
    dashes = {"correct": "none", "wrong": "7 4", "missed": "2 3"}
    words = (
        Markup(
            '<span class="key"><svg width="30" height="8" aria-hidden="true"><line x1="0" y1="4" '
            'x2="30" y2="4" stroke="{}" stroke-width="3" stroke-dasharray="{}"/></svg>{}</span>'
        ).format(
            style["color"],
            dashes[name],
            style["text"] + (f" ({counts.get(name, 0)})" if counts is not None else ""),
        )
        for name, style in EDGE_STYLES.items()
    )
    return Markup(" ").join(words)


def depth_key(levels: int = 6) -> Markup:
    """Return the depth colours from near to far, for captions."""
    stops = ", ".join(css_color(color) for color in depth_colors(levels))
    return Markup(
        '<span class="key">near <i class="ramp" style="background:linear-gradient(90deg, {})"></i>'
        " far</span>"
    ).format(stops)


def css_color(color: np.ndarray) -> str:
    """RGB triple as "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*(int(c) for c in color))


def number(value: float | None, digits: int = 1) -> str:
    """Return a number for a table cell; a dash where it is undefined (None, NaN)."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.{digits}f}".replace("-", "−").replace(",", "\u202f")


def fraction(part: float | None, whole: float | None) -> str:
    """Count for a table cell, as "3 of 4", or a dash."""
    return "–" if part is None or whole is None else f"{int(part)} of {int(whole)}"


def render_report(template: str, context: Mapping[str, Any]) -> str:
    """Fill one of the package's templates.

    Args:
        template: file name in ``occ_order/apps/templates``.
        context: its variables; a missing one is an error, strings are escaped.

    Returns:
        the whole HTML page.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("occ_order.apps", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(number=number, fraction=fraction)
    environment.globals.update(
        figure=figure_html,
        direction_key=direction_key,
        verdict_key=verdict_key,
        depth_key=depth_key,
    )
    return environment.get_template(template).render(**context)
