"""What `occ-order predict` does with one image, in whatever process."""

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
    """Return what is said of one image, with the user's masks if there are any.

    Raises:
        ValueError: the image, its name or its masks cannot be used.
        OSError: one of its files cannot be read.
    """
    one.name.encode("utf-8")  # which results hold
    image = one.pixels()
    given = masks_of(one, image, options) if options.masks else None
    result = chain(image, given, file=one.file)
    number = result.image_id if one.image is None else one.name
    return result.replace(image_id=number, file_name=one.file_name)


def says_nothing(result: OrderedInstances) -> bool:
    """Return whether a model knows no instances: a disparity map is all that it gives."""
    return result.disparity is not None and not len(result) and result.occlusion is None


def free_id(number: int | str, name: str, taken: Container[int | str]) -> int | str:
    """Return the id of an image: its name where another has it, as of one file of masks for all."""
    return name if number in taken else number


def tell_failure(file: str, error: Exception | str) -> None:
    """Say on the standard error output why there is no result of an image."""
    message = f"{file}: {error}".encode("utf-8", "backslashreplace")
    print(message.decode("utf-8"), file=sys.stderr)
