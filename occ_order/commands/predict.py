"""`occ-order predict`: the order of the instances of somebody's own images and videos."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from pathlib import Path
from typing import Any

from PIL import Image

from occ_order.commands.inputs import Input, count_images, find_inputs, images_of, masks_of
from occ_order.commands.progress import progress
from occ_order.files import as_image, atomic_writer, folder_lock, resolve_inside
from occ_order.formats.layered_image import layers_of, save_layers, save_psd
from occ_order.formats.results import read_names
from occ_order.formats.sem_dist import save_sem_dist
from occ_order.front import Photographs, photographs
from occ_order.instances import ORDERS, OrderedInstances
from occ_order.order import io


def build_predict(options: argparse.Namespace) -> Photographs:
    """Return what is done to each image, as the command line says."""
    chosen: dict[str, Any] = {"model": options.model}
    if options.config_file:
        from occ_order.config import introduce, load_cfg
        from occ_order.engine.predictor import OrderPredictor

        opts = [*options.opts, "MODEL.DEVICE", options.device]
        chosen["model"] = OrderPredictor.from_config(options.config_file, opts)
        chosen["about"] = introduce(options.config_file, load_cfg(options.config_file, opts))
    return photographs(
        **chosen,
        given_masks=options.masks is not None,
        detector=options.detector,
        detector_weights=options.detector_weights,
        score_threshold=options.score_threshold,
        amodal=options.amodal,
        resolve_cycles=options.acyclic,
        class_names=class_names(options),
        device=options.device,
        backend=options.backend,
    )


def class_names(options: argparse.Namespace) -> dict[int, str] | None:
    """Return name by class id, of the file that the user names; None where there is none."""
    _, categories = read_names(options.names_from)
    return None if categories is None else {one["id"]: one["name"] for one in categories}


def result_of(chain: Photographs, one: Input, options: argparse.Namespace) -> OrderedInstances:
    """Return what is said of one image, with the user's masks if there are any."""
    image = as_image(one.file) if one.image is None else one.image
    given = masks_of(one, image, options) if options.masks else None
    result = chain(image, given, file=one.file)
    number = result.image_id if one.image is None else one.name
    return result.replace(image_id=number, file_name=one.file_name)


def write(folder: Path, result: OrderedInstances, options: argparse.Namespace) -> None:
    """Write everything that belongs to one image."""
    from occ_order.draw.disparity import save_disparity
    from occ_order.draw.image_panels import PREDICTED, panels

    folder.mkdir(parents=True, exist_ok=True)
    if result.disparity is not None:
        save_disparity(folder / "disparity", result.disparity)
    if says_nothing(result):
        return
    entry = result.to_dict()
    names = [result.label(k) for k in range(len(result))] if result.names else None
    if result.sem_dist is not None:
        save_sem_dist(folder / "sem_dist.npz", result.sem_dist)
    for kind, panel in panels(result, result.image, kinds=PREDICTED).items():
        with atomic_writer(folder / f"{kind}.png", "wb", sync=False) as file:
            Image.fromarray(panel.image).save(file, format="PNG")
    orders = [order for order in ORDERS if getattr(result, order) is not None]
    if orders:
        layers = layers_of(entry, result.image)
        save_layers(folder / "layers", layers)
        if options.psd:
            save_psd(folder / "layers.psd", layers)
    if options.graphs:
        for order in orders:
            io.save_graphml(folder / f"{order}.graphml", entry, order=order, names=names)
            io.save_dot(folder / f"{order}.dot", entry, order=order, names=names)


def says_nothing(result: OrderedInstances) -> bool:
    """Return whether a model knows no instances: a disparity map is all that it gives."""
    return result.disparity is not None and not len(result) and result.occlusion is None


def run(options: argparse.Namespace) -> int:
    """Predict on everything; an image that cannot be used is reported and does not stop others.

    Returns:
        1 if an image failed, else 0.
    """
    if options.shard_size:
        from occ_order.commands import predict_collection

        return predict_collection.run(options)
    if not options.json_only and importlib.util.find_spec("matplotlib") is None:
        raise ValueError(
            'images need Matplotlib: pip install "occ_order[report]"; without them: --json-only'
        )
    files = find_inputs(options.input)
    chain = build_predict(options)
    print(chain.about(masks=options.masks is not None), flush=True)
    done, failed, ids = 0, 0, set()
    results = options.output / "order_results.json"
    images = progress(images_of(files, options.every), "predict", total=count_images(files))
    with folder_lock(options.output), io.growing_results(results) as add:
        for one in images:
            try:
                if one.error:
                    raise ValueError(one.error)
                one.name.encode("utf-8")  # which results hold
                folder = resolve_inside(options.output, one.name)
                result = result_of(chain, one, options)
                if result.image_id in ids:  # of one file of masks for several images
                    result = result.replace(image_id=one.name)
            except (ValueError, OSError) as error:
                message = f"{one.file}: {error}".encode("utf-8", "backslashreplace")
                print(message.decode("utf-8"), file=sys.stderr)
                failed += 1
                continue
            if not options.json_only:
                write(folder, result, options)
            done += 1
            ids.add(result.image_id)
            if not says_nothing(result):
                add(result.to_dict())
    print(f"{options.output}: {done} images, {failed} failed")
    return 1 if failed else 0
