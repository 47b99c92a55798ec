"""Self-contained HTML reports with all images embedded."""

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
    """An encoded image with its display size and alternative text.

    Attributes:
        name: file name without folder; the extension gives the format (.png or .jpg).
        data: the file's bytes.
        width: displayed width in CSS pixels (the file may have a higher resolution).
        height: displayed height in CSS pixels.
        alt: alternative text.
    """

    name: str
    data: bytes
    width: int
    height: int
    alt: str

    def renamed(self, name: str) -> ReportImage:
        """Return a copy with the file name `name` (given without extension)."""
        return replace(self, name=name + self.name[-4:])

    @property
    def mime(self) -> str:
        """MIME type of `data`."""
        return "image/png" if self.name.endswith(".png") else "image/jpeg"


def encode_image(
    image: np.ndarray, name: str, alt: str, *, sharpness: float = 1.0, flat: bool = False
) -> ReportImage:
    """Encode an image for a report.

    Args:
        image: uint8 (H, W, 3) RGB.
        name: file name without extension.
        alt: alternative text.
        sharpness: image pixels per CSS pixel.
        flat: encode as PNG with a palette of 256 colours (drawings, label maps); otherwise as JPEG
            (photographs).
    """
    height, width = (round(side / sharpness) for side in image.shape[:2])
    if flat:
        return ReportImage(f"{name}.png", png_bytes(image, colors=256), width, height, alt)
    return ReportImage(f"{name}.jpg", jpeg_bytes(image), width, height, alt)


def figure_html(image: ReportImage, caption: str | Markup = "", *, css_class: str = "") -> Markup:
    """Return a ``<figure>`` element with the image embedded as a data URL.

    Args:
        image: the encoded image.
        caption: text below it; plain strings are escaped, `Markup` is inserted as is.
        css_class: CSS class of the figure.

    Returns:
        safe HTML.
    """
    source = f"data:{image.mime};base64,{base64.b64encode(image.data).decode('ascii')}"
    return Markup(
        '<figure class="{}"><img src="{}" width="{}" height="{}" alt="{}" loading="lazy">'
        "<figcaption>{}</figcaption></figure>"
    ).format(css_class, Markup(source), image.width, image.height, image.alt, caption)


def direction_key() -> Markup:
    """Return a legend of the four boundary direction colours, as HTML for captions."""
    words = (
        Markup('<span class="key"><i style="background:{}"></i>{}</span>').format(
            css_color(color), name
        )
        for name, color in zip(DIRECTIONS, DIRECTION_COLORS, strict=True)
    )
    return Markup(" ").join(words)


def verdict_key(counts: Mapping[str, int] | None = None) -> Markup:
    """Return a legend of the line styles of edge verdicts, as HTML for captions.

    Args:
        counts: verdict -> number shown behind its name; None shows no numbers.

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
    """Return a legend of the depth colours from near to far, as HTML for captions."""
    stops = ", ".join(css_color(color) for color in depth_colors(levels))
    return Markup(
        '<span class="key">near <i class="ramp" style="background:linear-gradient(90deg, {})"></i>'
        " far</span>"
    ).format(stops)


def css_color(color: np.ndarray) -> str:
    """Return an RGB triple in 0 .. 255 as "#rrggbb"."""
    return "#{:02x}{:02x}{:02x}".format(*(int(c) for c in color))


def number(value: float | None, digits: int = 1) -> str:
    """Format a number for a table cell; None, NaN and infinity become a dash."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.{digits}f}".replace("-", "−").replace(",", "\u202f")


def fraction(part: float | None, whole: float | None) -> str:
    """Format a count for a table cell, such as "3 of 4"; a dash if either is None."""
    return "–" if part is None or whole is None else f"{int(part)} of {int(whole)}"


def render_report(template: str, context: Mapping[str, Any]) -> str:
    """Render one of the package's Jinja templates.

    Args:
        template: file name in ``occ_order/apps/templates``.
        context: template variables; an undefined one raises an error, strings are escaped.

    Returns:
        The complete HTML page.
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
