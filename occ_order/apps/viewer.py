"""HTML viewer for the results of many images: occlusion order, depth order and layers.

The page works offline, opened from disk. Up to `MOST_INSIDE` images are embedded in the page; with
more, each image is written to its own file in a folder beside the page and loaded on demand. The
input is the images of ``order_results.json`` (:mod:`occ_order.order.io`) and, optionally, ground
truth in the same form (:func:`occ_order.formats.results.results_of` converts any data set).
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import cv2
import jinja2
import numpy as np
from markupsafe import Markup

from occ_order import masks
from occ_order.apps.report import css_color
from occ_order.draw.canvas import check_image, jpeg_bytes, label_points, text_color
from occ_order.draw.colors import instance_colors
from occ_order.draw.outlines import mask_path
from occ_order.draw.verdicts import edge_verdicts, match_instances
from occ_order.files import atomic_writer, read_text, resolve_inside
from occ_order.formats.checks import size_mismatch
from occ_order.order import io

MOST_INSIDE = 200
"""Maximum number of images embedded in the page (20 to 60 MB); more are written beside it."""


def instance_set(
    image: Mapping[str, Any], *, class_names: Mapping[int, str] | None = None
) -> dict[str, Any]:
    """Return the instances of one image and their order as JSON values for the page.

    Args:
        image: one image of ``order_results.json``.
        class_names: category id -> name; used if an instance has no "name" and no "category".

    Returns:
        {"instances": [{"label", "color", "ink", "score", "layer", "modal", "amodal", "at"}],
        "occlusion": [[i, j, probability]] or None, "unknown": count, "depth": entries or None,
        "cycles": [[i, ...]]}. "modal" and "amodal" are SVG paths; "at" is the [x, y] position of
        the label, None for an empty mask.
    """
    size, instances = (image["height"], image["width"]), image["instances"]
    modal = masks.decode_all([instance["segmentation"] for instance in instances], *size)
    points, colors = label_points(modal), instance_colors(len(instances))
    listed = []
    for k, instance in enumerate(instances):
        amodal = instance.get("amodal_segmentation")
        at = (points[k] + 0.5).round(1).tolist() if modal[k].any() else None
        listed.append(
            {
                "label": _label(instance, class_names),
                "color": css_color(colors[k]),
                "ink": css_color(np.array(text_color(colors[k]))),
                "score": instance["score"],
                "layer": instance.get("layer"),
                "modal": mask_path(modal[k]),
                "amodal": None if amodal is None else mask_path(masks.decode(amodal, *size)),
                "at": at,
            }
        )
    return {
        "instances": listed,
        "occlusion": image.get("occlusion"),
        "unknown": len(image.get("occlusion_unknown", ())),
        "depth": image.get("depth"),
        "cycles": image.get("cycles", []),
    }


def _label(instance: Mapping[str, Any], class_names: Mapping[int, str] | None) -> str:
    """Return the label of an instance: its name, its class name, or "class ID"."""
    number = instance["category_id"]
    named = instance.get("name") or instance.get("category")
    return str(named or (class_names or {}).get(number) or f"class {number}")


def comparison(image: Mapping[str, Any], truth: Mapping[str, Any]) -> dict[str, Any]:
    """Compare the predicted order of one image with ground truth, as the OAIR metric does.

    Args:
        image: prediction, one image of ``order_results.json``.
        truth: ground truth in the same form and of the same size.

    Returns:
        {"matches": index of the predicted instance matched to each ground-truth one, -1 for none;
        "edges": [[i, j, verdict]] of ground-truth instances, verdict "correct", "wrong" or
        "missed"; "extra": [[i, j]] edges predicted between matched instances where i does not
        occlude j in the ground truth}. "edges" and "extra" are None if the prediction or the ground
        truth has no occlusion order.

    Raises:
        ValueError: prediction and ground truth differ in size.
    """
    size = image["height"], image["width"]
    if size != (truth["height"], truth["width"]):
        raise ValueError(
            f"image {image['image_id']!r}: results are for {size}, "
            f"annotation for {(truth['height'], truth['width'])}"
        )
    stacks = [
        masks.decode_all([instance["segmentation"] for instance in one["instances"]], *size)
        for one in (truth, image)
    ]
    scores = np.array([instance["score"] for instance in image["instances"]], float)
    matches = match_instances(*stacks, scores=scores)
    result: dict[str, Any] = {"matches": matches.tolist(), "edges": None, "extra": None}
    gt_occlusion, occlusion = io.matrices(truth)[0], io.matrices(image)[0]
    if gt_occlusion is None or occlusion is None:
        return result
    verdicts = edge_verdicts(
        stacks[0], gt_occlusion, stacks[1], occlusion, scores=scores, touching=False
    )
    result["edges"] = [[int(i), int(j), word] for (i, j), word in verdicts.items()]
    pairs = np.argwhere(gt_occlusion == 0).tolist()
    both = [(matches[i], matches[j]) for i, j in pairs if min(matches[i], matches[j]) >= 0]
    result["extra"] = [[int(a), int(b)] for a, b in both if a != b and occlusion[a, b] == 1]
    return result


def viewer_image(
    image: Mapping[str, Any],
    drawing: np.ndarray,
    *,
    truth: Mapping[str, Any] | None = None,
    class_names: Mapping[int, str] | None = None,
    max_side: int = 1280,
) -> dict[str, Any]:
    """Return all values that the page needs for one image.

    Args:
        image: one image of ``order_results.json``.
        drawing: uint8 (H, W, 3) RGB image of the size stated in `image`.
        truth: ground truth of the same image in the same form, or None.
        class_names: category id -> name.
        max_side: larger images are downscaled to this longest side, in pixels; outlines keep full
            resolution.

    Returns:
        A JSON-serializable dict for :func:`render_viewer`.

    Raises:
        ValueError: the sizes of results, image and ground truth differ; names the image.
    """
    drawing, size = check_image(drawing), (image["height"], image["width"])
    if drawing.shape[:2] != size:
        stated = size_mismatch(size, drawing.shape[:2])
        raise ValueError(f"image {image['image_id']!r}: the results {stated}")
    scale = max_side / max(size)
    if scale < 1:
        shape = tuple(max(1, round(side * scale)) for side in size[::-1])
        drawing = cv2.resize(drawing, shape, interpolation=cv2.INTER_AREA)
    data = base64.b64encode(jpeg_bytes(drawing)).decode("ascii")
    return {
        "name": str(image.get("file_name", image["image_id"])),
        "width": size[1],
        "height": size[0],
        "image": f"data:image/jpeg;base64,{data}",
        "found": instance_set(image, class_names=class_names),
        "truth": None if truth is None else instance_set(truth, class_names=class_names),
        "comparison": None if truth is None else comparison(image, truth),
    }


def render_viewer(images: Sequence[Mapping[str, Any]], *, title: str = "Results") -> str:
    """Return the page with all images embedded.

    Args:
        images: values returned by :func:`viewer_image`; may be empty.
        title: page heading.

    Returns:
        A complete HTML page. Names are escaped, so they cannot inject scripts.
    """
    return _page([image["name"] for image in images], title, inside=images)


def save_viewer(
    path: str | os.PathLike, images: Iterable[Mapping[str, Any]], *, title: str = "Results"
) -> int:
    """Write the page atomically.

    Args:
        path: HTML file. With more than `MOST_INSIDE` images, each image is written as a script to
            the folder ``NAME_files`` beside it.
        images: values returned by :func:`viewer_image`; at most `MOST_INSIDE` are kept in memory.
        title: page heading.

    Returns:
        The number of images.

    Raises:
        ValueError: the folder ``NAME_files`` is a symbolic link to another place.
        OSError: a file cannot be written.
    """
    path, names, held = Path(path), [], []
    folder = f"{path.stem}_files"
    for image in images:
        names.append(image["name"])
        held.append(image)
        if len(names) > MOST_INSIDE:
            for number, one in enumerate(held, start=len(names) - len(held)):
                _save_image(resolve_inside(path.parent, f"{folder}/{number}.js"), number, one)
            held.clear()
    outside = len(names) > MOST_INSIDE
    page = _page(names, title, folder=folder) if outside else _page(names, title, inside=held)
    with atomic_writer(path) as file:
        file.write(page)
    return len(names)


def _save_image(path: Path, number: int, image: Mapping[str, Any]) -> None:
    """Write a script that passes one image to the page.

    The image is JSON inside a string literal, so that none of its contents run as code.
    """
    text = json.dumps(json.dumps(image, allow_nan=False))
    with atomic_writer(path, sync=False) as file:
        file.write(f"viewerImage({number}, {text});\n")


def _page(
    names: Sequence[str],
    title: str,
    *,
    inside: Sequence[Mapping[str, Any]] = (),
    folder: str = "",
) -> str:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("occ_order.apps", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    # Inserted verbatim: the braces of JavaScript are no template syntax.
    script = read_text(Path(__file__).parent / "templates" / "viewer.js")
    return environment.get_template("viewer.html.j2").render(
        title=title,
        data=_embedded({"names": list(names), "folder": quote(folder)}),
        inside=map(_embedded, inside),
        script=Markup(script),
    )


def _embedded(value: Any) -> Markup:
    """Return JSON safe inside a script element, which "</" or "<!--" would end or break."""
    return Markup(json.dumps(value, allow_nan=False).replace("<", "\\u003c"))
