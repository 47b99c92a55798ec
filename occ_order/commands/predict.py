"""`occ-order predict`: the order of the instances of somebody's own images and videos."""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from occ_order import model_zoo
from occ_order.commands.inputs import Input, count_images, find_inputs, images_of
from occ_order.commands.progress import progress
from occ_order.draw.disparity import save_disparity
from occ_order.draw.levels import draw_sem_dist
from occ_order.draw.predictions import prediction_pictures
from occ_order.engine.predictor import OrderPredictor, load_picture
from occ_order.files import atomic_writer, folder_lock, resolve_inside
from occ_order.formats.layered_image import layers_of, save_layers, save_psd
from occ_order.formats.sem_dist import save_sem_dist
from occ_order.formats.user_masks import load_masks, masks_file
from occ_order.methods.common.results import image_result
from occ_order.methods.sln.decode import sem_dist_maps
from occ_order.order import io

DETECTS, ORDERS_MASKS = "oosis_mini_scenes", model_zoo.ORDERS_MASKS
"""Models of the zoo that are taken where none is named: without masks and with them."""


@dataclass(frozen=True)
class Answer:
    """What a model says about one picture.

    Attributes:
        image: uint8 (H, W, 3) RGB.
        result: its entry in order_results.json; None if the model knows no instances.
        names: of the instances, if the user's file has any.
        disparity: float (H, W), larger = nearer, if the model has it.
        sem_dist: float32 (N, H, W), the sem-dist map of each instance, if the model has them (SLN).
    """

    image: np.ndarray
    result: dict[str, Any] | None
    names: list[str] | None
    disparity: np.ndarray | None
    sem_dist: np.ndarray | None = None


def build_predictor(options: argparse.Namespace) -> OrderPredictor:
    """The model that the command line names, or the zoo's for the task."""
    if options.config_file:
        opts = [*options.opts, "MODEL.DEVICE", options.device]
        return OrderPredictor.from_config(options.config_file, opts)
    name = options.model or (ORDERS_MASKS if options.masks else DETECTS)
    return OrderPredictor.from_zoo(name, device=options.device)


def predict(predictor: OrderPredictor, picture: Input, options: argparse.Namespace) -> Answer:
    """Runs the model on one picture, with the user's masks if there are any."""
    image = load_picture(picture.file) if picture.image is None else picture.image
    size = image.shape[:2]
    if options.masks:
        given = load_masks(
            masks_file(options.masks, picture.file),
            size,
            image_name=picture.file.name,
            keep_crowds=options.keep_crowds,
            skip_damaged=options.skip_damaged,
        )
        output = predictor(image, given.masks)
    else:
        given, output = None, predictor(image)
    disparity = output.get("disparity")
    disparity = None if disparity is None else disparity.cpu().numpy()
    if "instances" not in output:
        return Answer(image, None, None, disparity)
    found = output["instances"].to("cpu")
    if given is None and options.score_threshold is not None:
        found = found[found.scores > options.score_threshold]
    result = image_result(found, image_id=picture.name)
    result["file_name"] = picture.file.name
    if given is None:
        sem_dist = sem_dist_maps(found) if found.has("pred_levels") else None
        return Answer(image, result, None, disparity, sem_dist)
    for k, instance in enumerate(result["instances"]):
        instance.update(id=given.ids[k], category_id=given.category_ids[k], score=given.scores[k])
    return Answer(image, result, given.names if any(given.names) else None, disparity)


def write(folder: Path, answer: Answer, options: argparse.Namespace) -> None:
    """Writes everything that belongs to one picture."""
    folder.mkdir(parents=True, exist_ok=True)
    if answer.disparity is not None:
        save_disparity(folder / "disparity", answer.disparity)
    result = answer.result
    if result is None:
        return
    drawn = prediction_pictures(answer.image, result, class_names=answer.names)
    if answer.sem_dist is not None:
        save_sem_dist(folder / "sem_dist.npz", answer.sem_dist)
        drawn["levels"] = draw_sem_dist(answer.image, answer.sem_dist)
    for name, picture in drawn.items():
        with atomic_writer(folder / f"{name}.png", "wb", sync=False) as file:
            Image.fromarray(picture).save(file, format="PNG")
    orders = [key for key in ("occlusion", "depth") if key in result]
    if orders:
        layers = layers_of(result, answer.image)
        save_layers(folder / "layers", layers)
        if options.psd:
            save_psd(folder / "layers.psd", layers)
    if options.graphs:
        for order in orders:
            io.save_graphml(folder / f"{order}.graphml", result, order=order, names=answer.names)
            io.save_dot(folder / f"{order}.dot", result, order=order, names=answer.names)


def run(options: argparse.Namespace) -> int:
    """Predict on everything; an image that cannot be used is reported and does not stop others.

    Returns:
        1 if an image failed, else 0.
    """
    if options.shard_size:
        from occ_order.commands import predict_collection

        return predict_collection.run(options)
    files = find_inputs(options.input)
    predictor = build_predictor(options)
    done, failed = 0, 0
    results = options.output / "order_results.json"
    images = progress(images_of(files, options.every), "predict", total=count_images(files))
    with folder_lock(options.output), io.growing_results(results) as add:
        for one in images:
            try:
                if one.error:
                    raise ValueError(one.error)
                one.name.encode("utf-8")  # which results hold
                folder = resolve_inside(options.output, one.name)
                answer = predict(predictor, one, options)
            except (ValueError, OSError) as error:
                message = f"{one.file}: {error}".encode("utf-8", "backslashreplace")
                print(message.decode("utf-8"), file=sys.stderr)
                failed += 1
                continue
            if not options.json_only:
                write(folder, answer, options)
            done += 1
            if answer.result is not None:
                add(answer.result)
    print(f"{options.output}: {done} images, {failed} failed")
    return 1 if failed else 0
