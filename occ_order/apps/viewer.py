"""One HTML page to look through the results of many images: who hides whom, layer by layer.

The page needs no network and opens from the disk. It holds its script and, of up to `MOST_INSIDE`
images, everything; of more, each lies in a file of its own in a folder beside the page, and is read
when it is looked at. What it shows are images of ``order_results.json``
(:mod:`occ_order.order.io`), beside annotation in the same form if there is any
(:func:`occ_order.formats.results.results_of` makes it of any data set).
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
"""Images that the page itself holds, some 20 to 60 MB; more lie beside it."""


def instance_set(
    image: Mapping[str, Any], *, class_names: Mapping[int, str] | None = None
) -> dict[str, Any]:
    """Return what the page knows of the instances of one image and their order.

    Args:
        image: dict of one image.
        class_names: names by category id; the keys "name" and "category" of an instance come first.

    Returns:
        {"instances": [{"label", "color", "ink", "score", "layer", "modal", "amodal", "at"}],
        "occlusion": [[i, j, probability]] or None, "unknown": count, "depth": entries or None,
        "cycles": [[i, ...]]}; outlines are SVG paths, "at" is [x, y] for the number, None where
        nothing is visible.
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
    """Return what to call an instance: its own name, its class, or the number of its class."""
    number = instance["category_id"]
    named = instance.get("name") or instance.get("category")
    return str(named or (class_names or {}).get(number) or f"class {number}")


def comparison(image: Mapping[str, Any], truth: Mapping[str, Any]) -> dict[str, Any]:
    """How the order of one image compares with annotation, by the rules of the OAIR measure.

    Args:
        image: dict of the predicted image.
        truth: dict of the annotated one, of the same size.

    Returns:
        {"matches": predicted instance of each annotated one, -1 for none; "edges": [[i, j,
        verdict]] of annotated instances, verdict "correct", "wrong" or "missed"; "extra": [[i, j]]
        predicted between matched instances although the annotation says that i does not occlude
        j}; "edges" and "extra" are None where one of the two has no occlusion order.

    Raises:
        ValueError: the two differ in size.
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
    """Everything that the page needs of one image.

    Args:
        image: dict of one image.
        image: uint8 (H, W, 3) RGB of the size that the dict states.
        truth: annotation of the same image, or None.
        class_names: names by category id.
        max_side: images are made smaller than this, in pixels; outlines stay exact.

    Returns:
        Plain values for :func:`render_viewer`.

    Raises:
        ValueError: names the image, where sizes do not fit.
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
    """Return the page with all images inside.

    Args:
        images: of :func:`viewer_image`; may be empty.
        title: heading.

    Returns:
        A whole HTML page. Nothing in it is executed but its own script, whatever names say.
    """
    return _page([image["name"] for image in images], title, inside=images)


def save_viewer(
    path: str | os.PathLike, images: Iterable[Mapping[str, Any]], *, title: str = "Results"
) -> int:
    """Write the page; it bears its name only when it is complete.

    Args:
        path: the page. Of more than `MOST_INSIDE` images, each becomes a script in the folder
            ``NAME_files`` beside it.
        images: of :func:`viewer_image`; an iterator needs memory for `MOST_INSIDE` of them.
        title: heading.

    Returns:
        The number of images.

    Raises:
        ValueError: that folder is a link that leads elsewhere.
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
    """Write a script that hands one image to the page; as text, so that nothing in it is code."""
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
    # The script is no template: its braces are its own.
    script = read_text(Path(__file__).parent / "templates" / "viewer.js")
    return environment.get_template("viewer.html.j2").render(
        title=title,
        data=_embedded({"names": list(names), "folder": quote(folder)}),
        inside=map(_embedded, inside),
        script=Markup(script),
    )


def _embedded(value: Any) -> Markup:
    """JSON for a script element, in which only "</" and "<!--" could end or confuse it."""
    return Markup(json.dumps(value, allow_nan=False).replace("<", "\\u003c"))
