"""Layered images, front to back: numbered PNG files with ``layers.json``, and layered PSD files.

A folder of layers::

    layers.json
    layer_000.png       nearest instance: RGBA (H, W), its visible pixels opaque
    layer_001.png ...   further instances, front to back
    background.png      RGBA, pixels without instance; always the last layer
    amodal_000.png      8-bit grey, 255 inside the amodal mask of layer 000; only if known

Composing the layers from the last to the first restores the image exactly. Layers contain visible
pixels only; occluded regions are not inpainted.

**Order.** An occluder comes before its occludees. Instances that occlusion does not order are
sorted by the depth order, then by index. Instances on a common cycle have the same number "layer";
both directions are kept in "occludes". The layer list of PSD files starts at the *bottom*, so the
background is written first.

Arrays only: needs neither PyTorch nor Detectron2.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from occ_order import masks as mask_functions
from occ_order.files import atomic_writer, opened, read_json, resolve_inside, save_png, write_json
from occ_order.formats.checks import size_mismatch
from occ_order.order import graph, io

FORMAT = "occ_order/layers/1"


@dataclass
class Layer:
    """One layer of an image.

    Attributes:
        rgba: uint8 (H, W, 4), colours of the image; alpha 255 where the layer is visible, else 0.
        info: its entry in ``layers.json`` without file names: "kind" ("instance" or "background")
            and for an instance "index" (its row in the matrices), "id", "category_id", "name",
            "layer" (0 = nearest), "box" [x0, y0, x1, y1] of the modal mask, "occludes" and
            "occluded_by" (indices), as far as known.
        amodal: bool (H, W) amodal mask, or None.
    """

    rgba: np.ndarray
    info: dict[str, Any] = field(default_factory=dict)
    amodal: np.ndarray | None = None


def front_to_back(
    occlusion: np.ndarray | None, depth: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Sort the instances from front to back.

    Args:
        occlusion: (N, N) occlusion matrix, or None if unknown.
        depth: (N, N) depth matrix, or None if unknown.

    Returns:
        int64 (N,) indices of the instances from front to back; int64 (N,) layer of each instance,
        0 = nearest, from the occlusion order if there is one, else from the depth order.

    Raises:
        ValueError: neither order is given, or they are not of one size.
    """
    levels = []
    if occlusion is not None:
        levels.append(graph.layers(occlusion))
    if depth is not None:
        closer = (np.asarray(depth) == 1).astype(np.int8)
        levels.append(graph.layers(closer))
    if not levels:
        raise ValueError("layers need an occlusion order or a depth order; there is neither")
    if len({len(level) for level in levels}) > 1:
        raise ValueError(f"occlusion has {len(levels[0])} instances, depth {len(levels[1])}")
    # The last key of lexsort is the primary one; it is stable, so remaining ties keep the index.
    return np.lexsort(levels[::-1]), levels[0]


def cut_layers(
    image: np.ndarray,
    modal: np.ndarray,
    *,
    occlusion: np.ndarray | None = None,
    depth: np.ndarray | None = None,
    amodal: np.ndarray | None = None,
    instances: Sequence[Mapping[str, Any]] | None = None,
) -> list[Layer]:
    """Split an image into layers, front to back, the background last.

    Args:
        image: uint8 (H, W, 3) RGB.
        modal: (N, H, W) modal masks, nonzero = inside; they may overlap.
        occlusion: (N, N) occlusion matrix; see :func:`front_to_back`.
        depth: (N, N) depth matrix.
        amodal: (N, H, W) amodal masks.
        instances: N mappings; "id", "category_id", "name", "score" and "relative_depth" are copied
            to `Layer.info`.

    Returns:
        N + 1 layers.

    Raises:
        ValueError: incompatible shapes, or no order.
    """
    image, modal = np.asarray(image), mask_functions.as_bool(modal, 3)
    if image.dtype != np.uint8 or image.shape != (*modal.shape[1:], 3):
        raise ValueError(
            f"the image must be uint8 {(*modal.shape[1:], 3)}, got {image.dtype} {image.shape}"
        )
    if amodal is not None and np.shape(amodal) != modal.shape:
        raise ValueError(f"amodal must be {modal.shape}, got {np.shape(amodal)}")
    if instances is not None and len(instances) != len(modal):
        raise ValueError(f"got {len(instances)} instances for {len(modal)} masks")
    order, levels = front_to_back(occlusion, depth)
    if len(order) != len(modal):
        raise ValueError(f"the order has {len(order)} instances, there are {len(modal)} masks")
    layers = []
    for k in order.tolist():
        info = _instance_info(k, {} if instances is None else instances[k], occlusion)
        info["layer"] = int(levels[k])
        info["box"] = mask_functions.bounding_box(modal[k]).astype(int).tolist()
        whole = None if amodal is None else np.asarray(amodal[k]) != 0
        layers.append(Layer(_rgba(image, modal[k]), info, whole))
    rest = ~np.any(modal, axis=0)
    return [*layers, Layer(_rgba(image, rest), {"kind": "background"})]


def _instance_info(
    k: int, instance: Mapping[str, Any], occlusion: np.ndarray | None
) -> dict[str, Any]:
    info: dict[str, Any] = {"kind": "instance", "index": k}
    for key in ("id", "category_id", "name", "score", "relative_depth"):
        if instance.get(key) is not None:
            info[key] = instance[key]
    if occlusion is not None:
        occlusion = np.asarray(occlusion)
        info["occludes"] = np.flatnonzero(occlusion[k] == 1).tolist()
        info["occluded_by"] = np.flatnonzero(occlusion[:, k] == 1).tolist()
    return info


def _rgba(image: np.ndarray, shown: np.ndarray) -> np.ndarray:
    """Return the image with alpha 255 where `shown`, and transparent black elsewhere."""
    alpha = np.where(shown, 255, 0).astype(np.uint8)[..., None]
    return np.concatenate([np.where(shown[..., None], image, 0), alpha], axis=2)


def compose(layers: Sequence[Layer]) -> np.ndarray:
    """Compose layers, the last at the bottom.

    Args:
        layers: at least one, front to back, of the same size, with binary alpha.

    Returns:
        uint8 (H, W, 4); alpha 0 where no layer is visible.

    Raises:
        ValueError: no layers.
    """
    if not layers:
        raise ValueError("there is no layer to compose")
    result = np.zeros_like(layers[0].rgba)
    for layer in reversed(layers):
        shown = layer.rgba[..., 3] > 0
        result[shown] = layer.rgba[shown]
    return result


def layers_of(image: Mapping[str, Any], pixels: np.ndarray) -> list[Layer]:
    """Split an image into layers by its entry in ``order_results.json``.

    Args:
        image: dict of one image (:mod:`occ_order.order.io`). "category" of an instance, if present,
            is used as its name.
        pixels: uint8 (H, W, 3) RGB of the size stated in the dict.

    Returns:
        See :func:`cut_layers`.

    Raises:
        ValueError: the image has another size, or there is no order; names the image.
    """
    where, size = f"image {image['image_id']!r}", (image["height"], image["width"])
    if pixels.shape[:2] != size:
        raise ValueError(f"{where}: the results {size_mismatch(size, pixels.shape[:2])}")
    instances = image["instances"]
    occlusion, depth, _ = io.matrices(image)
    named = [{"name": instance.get("category"), **instance} for instance in instances]
    whole = [instance.get("amodal_segmentation") for instance in instances]
    try:
        return cut_layers(
            pixels,
            mask_functions.decode_all([i["segmentation"] for i in instances], *size),
            occlusion=occlusion,
            depth=depth,
            amodal=None if None in whole else mask_functions.decode_all(whole, *size),
            instances=named,
        )
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None


# --- files ---------------------------------------------------------------------------------


def save_layers(folder: str | os.PathLike, layers: Sequence[Layer]) -> list[Path]:
    """Write a folder of layers; ``layers.json`` is written last, so it lists complete files only.

    File names do not depend on the data. Files of an earlier export with more layers are not
    deleted, but are no longer listed.

    Args:
        folder: output folder, created if missing.
        layers: front to back, as returned by :func:`cut_layers`.

    Returns:
        The files written.

    Raises:
        ValueError: no layers, or two backgrounds.
        OSError: a file cannot be written.
    """
    if not layers or sum(layer.info["kind"] == "background" for layer in layers) != 1:
        raise ValueError("layers to be saved must end with one background")
    folder = Path(folder)
    entries, written = [], []
    for number, layer in enumerate(layers):
        background = layer.info["kind"] == "background"
        entry = {"file": "background.png" if background else f"layer_{number:03d}.png"}
        written.append(_write_png(folder / entry["file"], layer.rgba))
        if layer.amodal is not None:
            entry["amodal_file"] = f"amodal_{number:03d}.png"
            grey = np.where(layer.amodal, 255, 0).astype(np.uint8)
            written.append(_write_png(folder / entry["amodal_file"], grey))
        entries.append({**entry, **layer.info})
    height, width = layers[0].rgba.shape[:2]
    page = {"format": FORMAT, "height": height, "width": width, "order": "front to back"}
    write_json(folder / "layers.json", {**page, "layers": entries})
    return [*written, folder / "layers.json"]


def _write_png(path: Path, pixels: np.ndarray) -> Path:
    save_png(path, pixels)
    return path


def load_layers(folder: str | os.PathLike) -> list[Layer]:
    """Read a folder of layers.

    Args:
        folder: folder written by :func:`save_layers`; images may have been edited.

    Returns:
        Layers, front to back.

    Raises:
        ValueError: not a folder of layers, a file name that leaves the folder, or an image of
            another size or without alpha; names the file.
        OSError: a file cannot be read.
    """
    path = Path(folder) / "layers.json"
    page = read_json(path)
    if page.get("format") != FORMAT or not isinstance(page.get("layers"), list):
        raise ValueError(f"{path}: expected format {FORMAT!r}, got {page.get('format')!r}")
    size = page.get("height"), page.get("width")
    layers = []
    for number, entry in enumerate(page["layers"]):
        where = f"{path}: layer {number}"
        if not isinstance(entry, dict) or not isinstance(entry.get("file"), str):
            raise ValueError(f"{where}: must be an object with a 'file', got {entry!r}")
        info = {key: entry[key] for key in entry if key not in ("file", "amodal_file")}
        rgba = _read_png(folder, entry["file"], "RGBA", size, where)
        amodal = None
        if entry.get("amodal_file"):
            amodal = _read_png(folder, entry["amodal_file"], "L", size, where) > 0
        layers.append(Layer(rgba, info, amodal))
    return layers


def _read_png(
    folder: str | os.PathLike, name: str, mode: str, size: tuple[Any, Any], where: str
) -> np.ndarray:
    try:
        path = resolve_inside(folder, name)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from None
    with opened(path, f"{where}: {name}", formats=("PNG",)) as file:
        pixels = np.asarray(file)
    if file.mode != mode or file.size[::-1] != size:
        raise ValueError(
            f"{where}: {name} must be {mode} of (height, width) {size}, "
            f"got {file.mode} of {file.size[::-1]}"
        )
    return pixels


def save_psd(path: str | os.PathLike, layers: Sequence[Layer]) -> None:
    """Write layers as a Photoshop file; the image itself is its merged image.

    Layers are named "000 name", numbered front to back like the PNG files, and cropped to their
    visible part. In the file, and in psd-tools, the list starts at the bottom: background first.
    psd-tools may recompute the merged image, which takes seconds for large images.

    Args:
        path: file to write.
        layers: front to back, as returned by :func:`cut_layers`.

    Raises:
        ImportError: psd-tools is not installed.
        ValueError: no layers.
    """
    try:
        from psd_tools import PSDImage
    except ImportError as error:
        raise ImportError("PSD files need psd-tools: pip install 'psd-tools>=1.12'") from error
    # In an RGB document psd-tools would convert the alpha channel of a layer to a layer mask.
    document = PSDImage.frompil(Image.fromarray(compose(layers)))
    for number, layer in reversed(list(enumerate(layers))):
        x0, y0, x1, y1 = mask_functions.bounding_box(layer.rgba[..., 3]).astype(int)
        # An empty layer is kept in the list as one transparent pixel.
        pixels = layer.rgba[y0 : max(y1, y0 + 1), x0 : max(x1, x0 + 1)]
        cut = Image.fromarray(np.ascontiguousarray(pixels))
        added = document.create_pixel_layer(cut, name=str(number), top=int(y0), left=int(x0))
        added.name = _layer_name(number, layer)  # unlike the argument, supports Unicode
    buffer = BytesIO()
    with _no_preview_warning():
        document.save(buffer)
    with atomic_writer(path, "wb") as file:
        file.write(buffer.getvalue())


@contextmanager
def _no_preview_warning() -> Iterator[None]:
    """Suppress the warning of psd-tools about the merged image, which is already in the file."""
    logger = logging.getLogger("psd_tools.api.psd_image")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _layer_name(number: int, layer: Layer) -> str:
    if layer.info["kind"] == "background":
        return "background"
    name = layer.info.get("name") or f"instance {layer.info['index']}"
    return f"{number:03d} {' '.join(str(name).split())}"[:120]


def export_image(
    folder: str | os.PathLike,
    image: Mapping[str, Any],
    pixels: np.ndarray,
    *,
    psd: bool = False,
    graphs: bool = True,
) -> list[Path]:
    """Export one image of ``order_results.json`` as layers and graphs.

    Args:
        folder: output folder, created if missing. Receives the layers, ``layers.psd``, and
            ``occlusion.graphml`` and ``occlusion.dot`` (and the same for "depth") for the orders
            that the image has.
        image: dict of one image.
        pixels: uint8 (H, W, 3) RGB.
        psd: write the PSD file (needs psd-tools).
        graphs: write the graphs.

    Returns:
        The files written.

    Raises:
        ValueError: see :func:`layers_of`.
        ImportError: `psd` without psd-tools.
    """
    folder = Path(folder)
    layers = layers_of(image, pixels)
    written = save_layers(folder, layers)
    if psd:
        save_psd(folder / "layers.psd", layers)
        written.append(folder / "layers.psd")
    names = [
        f"{instance.get('category', instance['category_id'])} #{k}"
        for k, instance in enumerate(image["instances"])
    ]
    for order in ("occlusion", "depth"):
        if graphs and order in image:
            io.save_graphml(folder / f"{order}.graphml", image, order=order, names=names)
            io.save_dot(folder / f"{order}.dot", image, order=order, names=names)
            written += [folder / f"{order}.graphml", folder / f"{order}.dot"]
    return written


def layer_summary(layers: Sequence[Layer]) -> str:
    """Return a text summary of the layers, one line each, front to back."""
    lines = []
    for number, layer in enumerate(layers):
        behind = ", ".join(map(str, layer.info.get("occludes", ()))) or "nothing"
        tail = "" if layer.info["kind"] == "background" else f" occludes {behind}"
        lines.append(f"{_layer_name(number, layer)}{tail}")
    return "\n".join(lines)
