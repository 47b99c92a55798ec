"""`occ-order predict`: the order of the instances of somebody's own images and videos."""

from __future__ import annotations

import argparse
import importlib.util
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from occ_order import model_zoo
from occ_order.commands.inputs import Input, count_images, find_inputs, images_of
from occ_order.commands.progress import progress
from occ_order.files import as_image, atomic_writer, folder_lock, resolve_inside
from occ_order.formats.layered_image import layers_of, save_layers, save_psd
from occ_order.formats.sem_dist import save_sem_dist
from occ_order.formats.user_masks import load_masks, masks_file
from occ_order.front import predictor
from occ_order.instances import ORDERS, OrderedInstances
from occ_order.order import io

Predict = Callable[[np.ndarray, "OrderedInstances | None"], OrderedInstances]


def build_predict(options: argparse.Namespace) -> Predict:
    """Return what orders the instances of an image: the model that the command line names."""
    if options.config_file:
        from occ_order.engine.predictor import OrderPredictor

        opts = [*options.opts, "MODEL.DEVICE", options.device]
        return OrderPredictor.from_config(options.config_file, opts)
    given = options.masks or options.detector
    name = options.model or (model_zoo.ORDERS_MASKS if given else model_zoo.FINDS_INSTANCES)
    chosen = {"device": options.device, "backend": options.backend}
    orders = predictor(name, **chosen)
    if not options.detector:
        return orders
    finds = predictor(options.detector, **chosen)

    def predict(image: np.ndarray, _: OrderedInstances | None) -> OrderedInstances:
        found = finds(image)
        return orders(image, found[kept(found, options)])

    return predict


def kept(found: OrderedInstances, options: argparse.Namespace) -> np.ndarray:
    """bool (N,): instances whose score is high enough."""
    least = -np.inf if options.score_threshold is None else options.score_threshold
    return found.scores > least


def result_of(predict: Predict, one: Input, options: argparse.Namespace) -> OrderedInstances:
    """Return what a model says of one image, with the user's masks if there are any."""
    image = as_image(one.file) if one.image is None else one.image
    if options.masks:
        given = load_masks(
            masks_file(options.masks, one.file),
            image.shape[:2],
            image_name=one.file_name,
            keep_crowds=options.keep_crowds,
            skip_damaged=options.skip_damaged,
        )
        result = predict(image, given)
        number = given.image_id if one.image is None else one.name
        return result.replace(image_id=number, file_name=one.file_name)
    result = predict(image, None)
    return result[kept(result, options)].replace(image_id=one.name, file_name=one.file_name)


def write(folder: Path, result: OrderedInstances, options: argparse.Namespace) -> None:
    """Write everything that belongs to one image."""
    from occ_order.draw.disparity import save_disparity
    from occ_order.draw.levels import draw_sem_dist
    from occ_order.draw.predictions import prediction_images

    folder.mkdir(parents=True, exist_ok=True)
    if result.disparity is not None:
        save_disparity(folder / "disparity", result.disparity)
    if says_nothing(result):
        return
    entry = result.to_dict()
    names = [result.label(k) for k in range(len(result))] if result.names else None
    drawn = prediction_images(result.image, entry, class_names=names)
    if result.sem_dist is not None:
        save_sem_dist(folder / "sem_dist.npz", result.sem_dist)
        drawn["levels"] = draw_sem_dist(result.image, result.sem_dist)
    for name, panel in drawn.items():
        with atomic_writer(folder / f"{name}.png", "wb", sync=False) as file:
            Image.fromarray(panel).save(file, format="PNG")
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
    predict = build_predict(options)
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
                result = result_of(predict, one, options)
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
