"""`occ-order bench oosis`: CRF in parallel with the network's next image vs. sequentially.

Ours is an evaluation loop with `MODEL.OOSIS.WORKERS` threads for the CRF, the baseline the same
loop without. Unlike in other benchmarks both are wall time, which overlapping reduces on several
cores. Rows also contain the times of network and CRF alone, in seconds per image.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Iterator
from typing import Any

import torch
from detectron2.modeling import build_model

from occ_order import model_zoo, scenes
from occ_order.config import load_cfg
from occ_order.engine.overlap import OverlappingEvaluators
from occ_order.methods.oosis.deferred import Workers
from occ_order.methods.oosis.meta_arch import decoded_output

SIZES = {"160 x 160": (160, 160), "320 x 320": (320, 320), "640 x 480": (480, 640)}


def rows(arguments: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Yield a row for each image size."""
    torch.set_num_threads(1)
    if arguments.config_file:
        model = build_model(load_cfg(arguments.config_file, ["MODEL.DEVICE", "cpu"])).eval()
    else:
        model = model_zoo.get(arguments.model)
    for name, size in SIZES.items():
        inputs = [random_input(seed, size) for seed in range(arguments.images)]
        loop(model, inputs[:2], arguments.workers)  # compiles the CRF
        times: dict[int, list[float]] = {0: [], arguments.workers: []}
        for _ in range(arguments.repeats):
            for workers, spent in times.items():
                spent.append(loop(model, inputs, workers) / len(inputs))
        ours, baseline = (statistics.median(times[k]) for k in (arguments.workers, 0))
        network, crf = parts(model, inputs)
        yield {
            "case": name,
            "ours_s": ours,
            "baseline_s": baseline,
            "ratio": baseline / ours,
            "network_s": network,
            "crf_s": crf,
        }


def summary(found: list[dict[str, Any]]) -> str:
    """Format the times of network and CRF alone."""
    lines = [
        f"{row['case']}: network {1000 * row['network_s']:.0f} ms, "
        f"CRF and instances {1000 * row['crf_s']:.0f} ms an image"
        for row in found
    ]
    return "\n".join(lines)


def random_input(seed: int, size: tuple[int, int]) -> dict[str, Any]:
    """Return a generated image as input of the model."""
    image = scenes.generate(90_000 + seed, size=size, num_instances=(6, 12)).image
    return {"image": torch.from_numpy(image.transpose(2, 0, 1).copy())}


class Look:
    """Evaluator that only waits for the results."""

    def reset(self) -> None:
        """Do nothing; there is no state."""

    def process(self, inputs: Any, outputs: Any) -> None:
        """Wait for the results."""
        for output in outputs:
            len(output["instances"])

    def evaluate(self) -> dict:
        """Return no scores."""
        return {}


def loop(model: torch.nn.Module, inputs: list[dict[str, Any]], workers: int) -> float:
    """Return the wall time of an evaluation loop in seconds."""
    model.workers = Workers(workers)
    evaluators = OverlappingEvaluators([Look()])
    start = time.perf_counter()
    for one in inputs:
        evaluators.process([one], model([one]))
    evaluators.evaluate()
    return time.perf_counter() - start


def parts(model: torch.nn.Module, inputs: list[dict[str, Any]]) -> tuple[float, float]:
    """Return the CPU time of the network, and of the CRF and later steps, in seconds per image."""
    start = time.process_time()
    maps = [model.predict(one) for one in inputs]
    middle = time.process_time()
    for one, found in zip(inputs, maps, strict=True):
        decoded_output(model.decoder, found, tuple(one["image"].shape[-2:]))
    end = time.process_time()
    return (middle - start) / len(inputs), (end - middle) / len(inputs)
