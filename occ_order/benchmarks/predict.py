"""`occ-order bench predict`: order of input masks, default models vs. the published method.

The published method is InstaOrderNet^{o,d} (Lee and Park, CVPR 2022, Section 5.1 and code):
ResNet-50 on crops of two masks and the image, one network call for each ordered pair. Its weights
are random here, which does not affect the time. Ours is the default for input masks
(`occ_order.predict`), with ONNX Runtime and PyTorch, with and without amodal masks, which the
published method does not predict.

If the published method needs more than ``--calls`` calls, only that many are timed and
extrapolated; ``calls`` and ``of_calls`` are the numbers of timed and of all calls.
``against_torch`` is the time with PyTorch divided by ours; ``peak_mb`` and ``baseline_peak_mb`` are
the maximum growth of the process memory (Linux; NaN elsewhere).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import numpy as np
import torch
from detectron2.structures import Instances

from occ_order import model_zoo
from occ_order.benchmarks.crowds import crowd
from occ_order.benchmarks.load import peak_growth
from occ_order.benchmarks.pairs import build_network, pair_by_pair, some_pairs
from occ_order.benchmarks.timing import in_turns, make_row
from occ_order.engine.predictor import OrderPredictor
from occ_order.lite import from_zoo
from occ_order.model_zoo import settings_file
from occ_order.order.pairs import all_pairs

PUBLISHED = "InstaOrder/instaorder_net_od.yaml"
SIZE = (480, 640)
MODELS = {"order": model_zoo.ORDERS_MASKS, "order, amodal": model_zoo.COMPLETES_MASKS}


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield rows for every number of instances: order, and order with amodal masks.

    Raises:
        SystemExit: fewer than two instances, which have no pairs.
    """
    if min(arguments.instances) < 2:
        raise SystemExit("--instances: an order takes at least 2")
    torch.set_num_threads(1)
    published = build_network(settings_file(PUBLISHED), "", "cpu")
    onnx = {what: from_zoo(name, threads=1) for what, name in MODELS.items()}
    eager = {what: OrderPredictor.from_zoo(name) for what, name in MODELS.items()}
    for number in arguments.instances:
        image, masks = crowd(number, SIZE)
        asked, share = some_pairs(all_pairs(number), arguments.calls)
        one = _network_input(image, masks)
        functions: list[Callable[[], Any]] = [partial(pair_by_pair, published, one, asked)]
        for models in (onnx, eager):
            functions += [partial(models[what], image, masks) for what in MODELS]
        with torch.no_grad():
            peaks = [peak_growth(function) for function in functions]  # warm-up
            _, seconds = in_turns(functions, arguments.repeats)
        counted = {"calls": 2 * len(asked), "of_calls": number * (number - 1)}
        for k, what in enumerate(MODELS, start=1):
            same = k + len(MODELS)
            for backend, place in (("onnx", k), ("torch", same)):
                yield make_row(
                    f"{what}/{backend}/{number} instances",
                    seconds[place],
                    seconds[0] / share,
                    against_torch=seconds[same] / seconds[place],
                    peak_mb=peaks[place],
                    baseline_peak_mb=peaks[0],
                    **counted,
                )


def summary(found: list[dict[str, Any]]) -> str:
    """State which times of the published method are extrapolated."""
    scaled = sorted({(row["of_calls"], row["calls"]) for row in found})
    lines = [
        f"published way, {whole} calls: the time of {timed} of them was measured and scaled"
        for whole, timed in scaled
        if timed < whole
    ]
    return "\n".join([*lines, f"images of {SIZE[1]} x {SIZE[0]} pixels, one thread, CPU time"])


def _network_input(image: np.ndarray, masks: np.ndarray) -> dict[str, Any]:
    """Return an image and masks as input of a pairwise network."""
    given = Instances(image.shape[:2])
    given.pred_masks = torch.from_numpy(masks)
    given.pred_classes = torch.zeros(len(masks), dtype=torch.int64)
    return {"image": torch.from_numpy(image.transpose(2, 0, 1).copy()), "instances": given}
