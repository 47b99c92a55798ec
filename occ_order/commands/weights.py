"""`occ-order zoo weights`: convert checkpoints of other code, and reduce them to float16."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from occ_order.engine.checkpoint import as_half, read_checkpoint, write_checkpoint
from occ_order.engine.checkpoint.convert_midas import convert_midas, is_midas
from occ_order.engine.checkpoint.convert_pairwise import convert_pairwise
from occ_order.engine.checkpoint.convert_resnet import PREFIX as RESNET_PREFIX
from occ_order.engine.checkpoint.convert_resnet import convert_resnet, is_torchvision_resnet


def convert(
    weights: dict[str, Tensor], three_classes: str | None, channels: int | None
) -> dict[str, Tensor]:
    """Convert weights to the names of this package.

    Args:
        weights: weights of the file.
        three_classes: task of a classifier with three classes, "depth" or "relation", if known.
        channels: number of input channels of the pairwise network, if known.

    Raises:
        ValueError: the names belong to no supported network, or a needed argument is None.
    """
    if is_torchvision_resnet(weights):
        if channels is None:
            raise ValueError("a ResNet of torchvision needs --config-file, a pairwise network's")
        return convert_resnet(weights, channels)
    if is_midas(weights):
        return convert_midas(weights)
    return convert_pairwise(weights, three_classes=three_classes)


def network_of(config_file: Path) -> nn.Module:
    """Build the network of a configuration, on the CPU."""
    from detectron2.modeling import build_model

    import occ_order.methods.build  # noqa: F401  (fills Detectron2's registries)
    from occ_order.config import load_cfg

    return build_model(load_cfg(config_file, ["MODEL.DEVICE", "cpu"]))


def misfits(model: nn.Module, weights: dict[str, Tensor]) -> list[str]:
    """List missing and unexpected weights and different shapes, one message each.

    Weights of a ResNet alone may leave out all other weights of the network.
    """
    own = model.state_dict()
    start = all(name.startswith(RESNET_PREFIX) for name in weights)
    free = [
        name
        for name in own
        if name.endswith("num_batches_tracked") or (start and not name.startswith(RESNET_PREFIX))
    ]
    wrong = [f"{name} is missing" for name in set(own) - set(weights) - set(free)]
    wrong += [f"{name} has no place" for name in set(weights) - set(own)]
    wrong += [
        f"{name} is {tuple(weights[name].shape)}, expected {tuple(own[name].shape)}"
        for name in set(own) & set(weights)
        if own[name].shape != weights[name].shape
    ]
    return sorted(wrong)


def joined(weights: dict[str, Tensor], others: dict[str, Tensor]) -> dict[str, Tensor]:
    """Merge the weights of two files.

    Raises:
        ValueError: a name is in both files.
    """
    both = sorted(set(weights) & set(others))
    if both:
        raise ValueError(f"{len(both)} weights are in both files, among them {both[:3]}")
    return {**weights, **others}


CLASSIFIER = "roi_heads.box_predictor.cls_score"
"""Box classifier of Detectron2's Mask R-CNN; its logits are the classes, background last."""


def calibrated(
    weights: dict[str, Tensor], scale: float, shift: float, name: str = CLASSIFIER
) -> dict[str, Tensor]:
    """Apply Platt scaling of the scores to the classifier weights of a detector with one class.

    A score is the softmax of two logits, that is, expit of their difference; so both logits are
    scaled, and that of the class is shifted.

    Raises:
        ValueError: no such classifier, several classes, or a scale <= 0, which would reverse the
            ranking of detections.
    """
    layer = weights.get(f"{name}.weight"), weights.get(f"{name}.bias")
    if layer[0] is None or layer[1] is None:
        raise ValueError(f"to calibrate the scores there must be weights {name}.weight and .bias")
    if len(layer[1]) != 2:
        raise ValueError(f"{name} has {len(layer[1]) - 1} classes, expected 1")
    if not scale > 0:
        raise ValueError(f"the scale must be positive, got {scale}")
    bias = scale * layer[1] + torch.tensor([shift, 0.0], dtype=layer[1].dtype)
    return {**weights, f"{name}.weight": scale * layer[0], f"{name}.bias": bias}


def join_files(files: Sequence[Path], output: Path) -> None:
    """Write a checkpoint with the weights of all files.

    Raises:
        ValueError: a name is in two files.
    """
    weights = (read_checkpoint(file)["model"] for file in files)
    write_checkpoint(output, {"model": functools.reduce(joined, weights)})


def task_of(config_file: Path) -> str | None:
    """Return the task of a three-class classifier in a configuration: "depth" or "relation"."""
    from occ_order.config import load_cfg

    tasks = load_cfg(config_file).MODEL.PAIRWISE.TASKS
    return next((task for task in ("depth", "relation") if list(tasks) == [task]), None)


def run(options: argparse.Namespace) -> int:
    """Convert a checkpoint; return the exit status."""
    model = network_of(options.config_file) if options.config_file else None
    weights = read_checkpoint(options.input)["model"]
    if not options.half:
        three = options.three_classes
        if options.config_file and three is None:
            three = task_of(options.config_file)
        channels = getattr(getattr(model, "inputs", None), "channels", None)
        weights = convert(weights, three, channels)
    if options.join:
        weights = joined(weights, read_checkpoint(options.join)["model"])
    if options.calibrate:
        weights = calibrated(weights, *options.calibrate)
    wrong = misfits(model, weights) if model is not None else []
    if wrong:
        more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
        raise ValueError(
            f"{options.input} does not fit {options.config_file}: {'; '.join(wrong[:5])}{more}"
        )
    write_checkpoint(options.output, {"model": as_half(weights) if options.half else weights})
    print(f"{options.output}: {len(weights)} tensors")
    return 0
