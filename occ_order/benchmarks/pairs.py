"""`occ-order bench pairs`: orders of all pairs of an image by three methods.

* pair by pair: one network call for each ordered pair, batch size 1, as in the published code;
* batched: the same network with the same weights, all pairs in batches (`PairwiseOrderNet`); the
  results must be equal;
* head: the order head including its backbone, on the same masks (`OrderRCNN`); a different network.

The first method is the baseline of all rows. If it needs more than ``--calls`` calls, only that
many are timed and extrapolated; ``calls`` is the number of timed calls. With a GPU, there are
additional rows in wall time.
"""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable, Iterator

import numpy as np
import torch

import occ_order.methods.build  # noqa: F401
from occ_order.benchmarks.timing import in_turns, make_row
from occ_order.config import load_cfg
from occ_order.methods.common import pair_labels as labels
from occ_order.methods.common.input_masks import input_instances
from occ_order.model_zoo import settings_file
from occ_order.order.pairs import all_pairs
from occ_order.scenes import generate

NETWORK = "InstaOrder/scenes/instaorder_net_od.yaml"
HEAD = "OrderHead/scenes/order_head_given_masks.yaml"


def rows(arguments) -> Iterator[dict]:
    """Yield rows for every device and number of instances.

    Raises:
        SystemExit: the batched results differ from those of single calls.
    """
    for device in ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]:
        network = build_network(
            arguments.network or settings_file(NETWORK), arguments.network_weights, device
        )
        head = build_network(arguments.head or settings_file(HEAD), arguments.head_weights, device)
        for number in arguments.instances:
            one = scene_input(number, arguments.size)
            yield from _rows_of(one, network, head, device, arguments)


def scene_input(number: int, size: int) -> dict:
    """Return a generated scene with a number of instances as input of a network.

    Raises:
        SystemExit: the image is too small for the instances.
    """
    from detectron2.structures import Instances

    scene = generate(3, size=(size, size), num_instances=number, min_visible=8)
    if len(scene.modal) != number:
        raise SystemExit(f"{size} x {size} pixels have room for {len(scene.modal)} instances only")
    given = Instances((size, size))
    given.pred_masks = torch.from_numpy(scene.modal)
    given.pred_classes = torch.zeros(number, dtype=torch.int64)
    image = torch.from_numpy(scene.image.transpose(2, 0, 1).copy())
    return {"image": image, "instances": given, "height": size, "width": size, "image_id": number}


def build_network(config: str | os.PathLike[str], weights: str, device: str) -> torch.nn.Module:
    """Build a network from a config file, in evaluation mode.

    Args:
        config: the YAML file.
        weights: a checkpoint; "" = random weights.
        device: "cpu" or "cuda".
    """
    from detectron2.modeling import build_model

    from occ_order.engine.checkpoint import OrderCheckpointer

    torch.manual_seed(0)
    model = build_model(load_cfg(config, ["MODEL.DEVICE", device])).eval()
    if weights:
        OrderCheckpointer(model).load(weights)
    return model


def _rows_of(one: dict, network, head, device: str, arguments) -> Iterator[dict]:
    number = len(one["instances"])
    pairs = all_pairs(number)
    asked, share = some_pairs(pairs, arguments.calls)
    functions = (
        lambda: pair_by_pair(network, one, asked),
        lambda: network([one])[0]["instances"],
        lambda: head([one])[0]["instances"],
    )
    with torch.no_grad():
        functions[2](), functions[1]()  # warm-up
        (single, batched, _), seconds = _timed(functions, arguments.repeats, device)
    _check_same(number, asked, single, batched)
    loop = seconds[0] / share
    for name, ours in zip(("batched", "head"), seconds[1:], strict=True):
        more = {"calls": 2 * len(asked), "pairs_per_s": len(pairs) / ours}
        yield make_row(f"{device}/{name}/{number}", ours, loop, **more)


def some_pairs(pairs: np.ndarray, calls: int) -> tuple[np.ndarray, float]:
    """Return pairs for a number of calls, and their fraction of all pairs.

    Args:
        pairs: (P, 2), each of which needs two calls.
        calls: maximum number of calls.
    """
    asked = pairs[:: max(1, -(-2 * len(pairs) // calls))]
    return asked, len(asked) / max(len(pairs), 1)


def pair_by_pair(network, one: dict, pairs) -> dict[str, torch.Tensor]:
    """Predict pairs (P, 2) with one call for each direction of each pair."""
    found = input_instances(one, network.device)
    scene = network.inputs.scene(one["image"], found)
    answers: dict[str, list[torch.Tensor]] = {task: [] for task in network.classifier.heads}
    for pair in torch.as_tensor(pairs, device=network.device):
        crops = network.inputs(scene, pair[None])
        both = [network.classifier(crops[k : k + 1]) for k in range(2)]
        for task, rows_of_task in answers.items():
            rows_of_task.append(torch.cat([both[0][task], both[1][task]]))
    average = {"occlusion": labels.average_occlusion, "depth": labels.average_depth}
    return {
        task: torch.cat([average[task](logits) for logits in rows_of_task])
        for task, rows_of_task in answers.items()
        if rows_of_task
    }


def _check_same(number: int, asked, single: dict[str, torch.Tensor], batched) -> None:
    """Exit unless batched and single results are equal up to rounding."""
    first, second = torch.as_tensor(asked).unbind(1)
    for task, values in single.items():
        matrix = batched.get(f"{task}_probability").tensor.cpu()
        found = matrix[first, second]
        if task == "occlusion":
            found = torch.stack([found, matrix[second, first]], 1)
        if not torch.allclose(found, values.cpu(), atol=1e-4):
            raise SystemExit(f"{number} instances: batched {task} differs from single calls")


def _timed(functions: tuple[Callable, ...], repeats: int, device: str) -> tuple[list, list[float]]:
    """Run `in_turns` on the CPU, or measure synchronised wall time on a GPU."""
    if device == "cpu":
        return in_turns(functions, repeats)
    results: list = [None] * len(functions)
    seconds: list[list[float]] = [[] for _ in functions]
    for _ in range(repeats):
        for k, function in enumerate(functions):
            torch.cuda.synchronize()
            start = time.perf_counter()
            results[k] = function()
            torch.cuda.synchronize()
            seconds[k].append(time.perf_counter() - start)
    return results, [statistics.median(times) for times in seconds]
