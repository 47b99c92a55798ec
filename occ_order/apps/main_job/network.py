"""The whole way of OOSIS on generated images: a network of the zoo predicts, the CRF reads."""

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
"""The network of the model zoo that looks at images."""


def network_part(
    count: int, seed: int, smoothness: float, say: Callable[[str], None]
) -> dict[str, Any] | None:
    """Return images that only the network sees, what comes out, and scores.

    Args:
        count: of generated images.
        seed: of them.
        smoothness: of the CRF, for the row of exact maps.
        say: gets lines of progress.

    Returns:
        None without images, or where the network or what it needs is not there.
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
    """One image through network and CRF.

    Args:
        predictor: an `OrderPredictor` of OOSIS; it gets the image and nothing else.
        example: the image, and the annotation to compare with.

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
