"""Prediction of `occ-order predict` for one image, in any process."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Container
from typing import Any

from occ_order.commands.inputs import Input, masks_of
from occ_order.formats.results import read_names
from occ_order.front import Photographs, photographs
from occ_order.instances import OrderedInstances


def build_predict(options: argparse.Namespace) -> Photographs:
    """Build the pipeline for each image from the command-line options."""
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
        beyond_frame=options.beyond_frame,
        resolve_cycles=options.acyclic,
        class_names=class_names(options),
        device=options.device,
        backend=options.backend,
    )


def class_names(options: argparse.Namespace) -> dict[int, str] | None:
    """Return name by class id from the file of the option, or None without it."""
    _, categories = read_names(options.names_from)
    return None if categories is None else {one["id"]: one["name"] for one in categories}


def result_of(chain: Photographs, one: Input, options: argparse.Namespace) -> OrderedInstances:
    """Predict an image, with input masks if given.

    Raises:
        ValueError: invalid image, file name or masks.
        OSError: a file cannot be read.
    """
    one.name.encode("utf-8")  # results files are UTF-8
    image = one.pixels()
    given = masks_of(one, image, options) if options.masks else None
    result = chain(image, given, file=one.file)
    number = result.image_id if one.image is None else one.name
    return result.replace(image_id=number, file_name=one.file_name)


def free_id(number: int | str, name: str, taken: Container[int | str]) -> int | str:
    """Return an unused id of an image: its name if another image has the id."""
    return name if number in taken else number


def tell_failure(file: str, error: Exception | str) -> None:
    """Report on standard error why there is no result for an image."""
    message = f"{file}: {error}".encode("utf-8", "backslashreplace")
    print(message.decode("utf-8"), file=sys.stderr)
