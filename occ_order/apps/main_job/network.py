"""Both stages of OOSIS on generated images: a network of the zoo, then the CRF."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np

from occ_order.apps.main_job.drawings import class_map, example_images
from occ_order.apps.main_job.examples import Example, network_examples
from occ_order.apps.main_job.scores import score
from occ_order.apps.main_job.second_stage import input_maps, run_crf
from occ_order.apps.main_job.sentences import things_found, verdict_counts

NAME = "oosis_mini_scenes"
"""Name of the network in the model zoo."""


def network_part(
    count: int, seed: int, smoothness: float, say: Callable[[str], None]
) -> dict[str, Any] | None:
    """Run network and CRF on generated images and compute the scores.

    Args:
        count: number of generated images.
        seed: random seed of the images.
        smoothness: smoothness weight of the CRF, for the row of exact maps.
        say: called with each line of progress.

    Returns:
        {"name", "seen" (one dict per image), "rows" (scores), "seconds"}; None if `count` is 0 or
        the network or its dependencies are not available.
    """
    if not count:
        return None
    try:
        from occ_order.engine.predictor import OrderPredictor

        predictor = OrderPredictor.from_zoo(NAME)
    except (ImportError, FileNotFoundError, ValueError) as error:
        say(f"no network: {error}")
        return None
    say(f"A network looks at {count} generated images")
    examples = network_examples(count, seed)
    start = time.process_time()
    seen = [_outcome(predictor, example) for example in examples]
    seconds = time.process_time() - start
    exact = [run_crf(*input_maps(e), "alternate", smoothness).found for e in examples]
    rows = []
    for source, results in (
        ("the image alone", [s["found"] for s in seen]),
        ("exact maps", exact),
    ):
        rows.append({"input": source, **score(zip(examples, results, strict=True))})
        say(
            f"    {source:>20}: found {rows[-1]['things_found']} of {rows[-1]['things']} things, "
            f"{rows[-1]['orders_right']} of {rows[-1]['orders']} orders right"
        )
    return {"name": NAME, "seen": seen, "rows": rows, "seconds": seconds}


def _outcome(predictor: Any, example: Example) -> dict[str, Any]:
    """Run network and CRF on one image.

    Args:
        predictor: an `OrderPredictor` of OOSIS; its only input is the image.
        example: the image and its ground truth for comparison.

    Returns:
        "example", "found" (OrderedInstances), "images", "verdicts", "facts".
    """
    from occ_order.methods.common.ordered import from_instances

    output = predictor.output(example.truth.image)
    found = from_instances(output["instances"])
    composed = output["occ_boundary"].numpy()
    boundary = np.clip(1 - composed[4], 1e-6, 1)
    _, occludes = predictor.model.decoder.oriented(boundary, composed[:4] / boundary)
    images = example_images(example, occludes, found)
    foreground = output["sem_seg"].numpy().argmax(0).astype(np.uint8).clip(0, 1)
    images["semantic"] = class_map(example, foreground)
    verdicts = verdict_counts(example, found)
    return {
        "example": example,
        "found": found,
        "images": images,
        "verdicts": verdicts,
        "facts": f"{things_found(example, found)} of {len(example.truth)} things found; of "
        f"{sum(verdicts.values())} annotated orders {verdicts['correct']} right, "
        f"{verdicts['wrong']} wrong, {verdicts['missed']} missed.",
    }
