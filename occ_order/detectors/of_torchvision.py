"""Mask R-CNN models of torchvision, with its weights or a user's."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
import torchvision
from torch import nn

from occ_order.detectors.detector import Detector
from occ_order.detectors.weights import fetched
from occ_order.engine.checkpoint import CheckpointError, read_checkpoint

DEFAULT = "maskrcnn_resnet50_fpn_v2"

CLASSES = "roi_heads.box_predictor.cls_score.weight"
"""Name of the classifier weight, (classes + 1, C) including the background."""


class Finder:
    """Runs a detection model of torchvision on one image.

    Args:
        network: list of float (3, H, W) RGB images in [0, 1] -> list of {"masks", "labels",
            "scores"}.
    """

    def __init__(self, network: nn.Module) -> None:
        self.network = network.eval()

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray, _: str | None = None) -> dict[str, Any]:
        """Return the model's output for an image, uint8 (H, W, 3) RGB."""
        device = next(self.network.parameters()).device
        image = torch.from_numpy(np.ascontiguousarray(pixels)).to(device)
        return self.network([image.permute(2, 0, 1) / 255])[0]


def names() -> list[str]:
    """Return the names of torchvision's Mask R-CNN models."""
    listed = torchvision.models.list_models(module=torchvision.models.detection)
    return [name for name in listed if name.startswith("maskrcnn_")]


def build(name: str, weights: str | None, threshold: float, device: str) -> Detector:
    """Build a detector from torchvision.

    Args:
        name: one of `names()`; "" = `DEFAULT`.
        weights: weights file instead of torchvision's; it may have other classes, which then have
            no names.
        threshold: score threshold.
        device: "cpu" or "cuda".

    Raises:
        ValueError: there is no such model; the weights are invalid or do not fit.
        FileNotFoundError: the file does not exist, or the weights cannot be downloaded.
    """
    name = name or DEFAULT
    if name not in names():
        raise ValueError(f"torchvision has no {name!r} that finds masks; it has {names()}")
    theirs = torchvision.models.get_model_weights(name).DEFAULT
    file = Path(weights) if weights else download(theirs.url)
    state = read_checkpoint(file)["model"]
    network = _network(name, state, threshold, file).to(device)
    known = theirs.meta["categories"]
    number = len(state[CLASSES])
    if weights:
        about = f"torchvision's {name} (weights {file.name}; trained on what their author says)"
    else:
        scores = theirs.meta["_metrics"]["COCO-val2017"]
        about = (
            f"torchvision's {name} (trained on COCO 2017, 80 classes; mask AP "
            f"{scores['mask_map']} on its val, as torchvision says)"
        )
    return Detector(Finder(network), about, threshold, known if number == len(known) else None)


def download(url: str) -> Path:
    """Return the file of weights in the cache of torch.hub, downloaded if necessary.

    Raises:
        FileNotFoundError: see `fetched`.
    """
    path = Path(torch.hub.get_dir(), "checkpoints", url.rsplit("/", 1)[-1])
    digest = path.stem.rsplit("-", 1)[-1]  # torch.hub's convention

    def get() -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(url, str(path), hash_prefix=digest)

    return fetched(url, path, get)


def _network(name: str, state: dict[str, Any], threshold: float, file: Path) -> nn.Module:
    """Build a model and load its weights.

    torchvision modifies a model when it loads pretrained weights, and so does this function: the
    frozen batch norms of the first version (not "_v2") have epsilon 0.
    """
    if CLASSES not in state:
        raise CheckpointError(f"{file}: no weights of a Mask R-CNN of torchvision: no {CLASSES}")
    network = torchvision.models.get_model(
        name,
        weights=None,
        weights_backbone=None,
        num_classes=len(state[CLASSES]),
        box_score_thresh=threshold,
    )
    if not name.endswith("_v2"):
        for part in network.modules():
            if isinstance(part, nn.BatchNorm2d):
                part.eps = 0.0
    own = network.state_dict()
    counters = {key for key in own if key.endswith("num_batches_tracked")}
    missing = sorted(own.keys() - state.keys() - counters)
    if missing or state.keys() - own.keys():
        more = sorted(state.keys() - own.keys())
        raise CheckpointError(f"{file}: does not fit {name}; missing {missing}, unknown {more}")
    try:
        network.load_state_dict(state, strict=False)
    except RuntimeError as error:
        raise CheckpointError(f"{file}: does not fit {name}: {error}") from error
    return network
