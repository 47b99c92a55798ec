"""Detectors of Detectron2: from its model zoo, a YAML configuration, or a LazyConfig."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any
from urllib.parse import urlparse

import detectron2.data.transforms as T
import numpy as np
import torch
from detectron2 import model_zoo as detectron2_zoo
from detectron2.config import CfgNode, LazyConfig, instantiate
from detectron2.data import MetadataCatalog
from detectron2.modeling import META_ARCH_REGISTRY
from detectron2.structures import Instances
from detectron2.utils.file_io import Detectron2Handler, PathManager
from iopath.common.file_io import get_cache_dir
from torch import nn

import occ_order.methods.build  # noqa: F401  (fills Detectron2's registries)
from occ_order.config import load_cfg
from occ_order.detectors.detector import Detector
from occ_order.detectors.weights import fetched
from occ_order.engine.checkpoint import OrderCheckpointer
from occ_order.methods.oosis.detector_order import things_of

IMAGENET = "ImageNetPretrained"
"""Part of the URL of ImageNet weights, which initialise a backbone but are no detector."""


class Finder:
    """Runs a model of Detectron2 on one image, like Detectron2's DefaultPredictor.

    Args:
        model: takes a list of {"image", "height", "width"}.
        augmentations: resizing of the input image.
        image_format: "RGB" or "BGR".
        name: name of the model in error messages.
    """

    def __init__(
        self, model: nn.Module, augmentations: list[T.Augmentation], image_format: str, name: str
    ) -> None:
        self.model, self.name = model.eval(), name
        self.augmentations, self.image_format = T.AugmentationList(augmentations), image_format

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray, _: str | None = None) -> Instances:
        """Return the instances of an image, uint8 (H, W, 3) RGB, or of its panoptic segmentation.

        Raises:
            ValueError: the model predicts neither.
        """
        given = T.AugInput(pixels if self.image_format == "RGB" else pixels[..., ::-1])
        self.augmentations(given)
        image = torch.from_numpy(np.ascontiguousarray(given.image.transpose(2, 0, 1)))
        height, width = pixels.shape[:2]
        said = self.model([{"image": image.float(), "height": height, "width": width}])[0]
        if "instances" in said:
            return said["instances"].to("cpu")
        if "panoptic_seg" in said:
            return things_of(said).to("cpu")
        raise ValueError(f"{self.name} finds no instances: it gives {sorted(said)}")


def build_of_zoo(config: str, weights: str | None, threshold: float, device: str) -> Detector:
    """Build a detector from Detectron2's model zoo.

    Args:
        config: name in the zoo, with or without ".yaml".
        weights: weights file instead of the released weights.
        threshold: score threshold.
        device: "cpu" or "cuda".

    Raises:
        ValueError: there is no such configuration, it has no weights, or the weights do not fit.
        FileNotFoundError: the weights cannot be downloaded.
    """
    try:
        file, found = _zoo_file(config)
        url = detectron2_zoo.get_checkpoint_url(found)
    except RuntimeError as error:
        raise ValueError(
            f"detectron2:{config}: {error} Names are such as "
            "detectron2:COCO-InstanceSegmentation/mask_rcnn_R_50_FPN_3x.yaml"
        ) from None
    build = build_of_lazy if file.endswith(".py") else build_of_yaml
    return build(file, weights, threshold, device, url=url)


def _zoo_file(config: str) -> tuple[str, str]:
    """Return path and name of a configuration of Detectron2's model zoo."""
    if ".." in config.split("/") or os.path.isabs(config):
        raise RuntimeError(f"{config} is no name of the Model Zoo.")
    named = config if config.endswith((".yaml", ".py")) else f"{config}.yaml"
    return detectron2_zoo.get_config_file(named), named


def build_of_yaml(
    file: str, weights: str | None, threshold: float, device: str, *, url: str = ""
) -> Detector:
    """Build a detector from a YAML configuration, which cannot execute code.

    Args:
        file: configuration of Detectron2, or of a project that extends it; unknown keys are
            accepted.
        weights: weights file instead of MODEL.WEIGHTS.
        threshold: score threshold.
        device: "cpu" or "cuda".
        url: URL of the weights instead of MODEL.WEIGHTS.

    Raises:
        ValueError: an invalid file, its model is not registered, or weights are missing or do not
            fit.
        FileNotFoundError: the weights cannot be downloaded.
    """
    cfg = load_cfg(file, foreign=True)
    cfg.MODEL.DEVICE = device
    for part in (cfg.MODEL.ROI_HEADS, cfg.MODEL.RETINANET):
        part.SCORE_THRESH_TEST = threshold
    source = weights or local_weights(url or cfg.MODEL.WEIGHTS, file)
    architecture = cfg.MODEL.META_ARCHITECTURE
    if architecture not in META_ARCH_REGISTRY:
        raise ValueError(
            f"{file}: no network {architecture!r} is registered with Detectron2; import the "
            "project that has it, and call occ_order.predict from Python"
        )
    model = META_ARCH_REGISTRY.get(architecture)(cfg).to(device)
    OrderCheckpointer(model, strict=True).load(source)
    sides = [cfg.INPUT.MIN_SIZE_TEST] * 2
    resize = T.ResizeShortestEdge(sides, cfg.INPUT.MAX_SIZE_TEST)
    finder = Finder(model, [resize], cfg.INPUT.FORMAT, file)
    about = _about(file, weights, cfg.DATASETS.TRAIN, zoo=bool(url))
    return Detector(finder, about, threshold, _class_names(_test_data(cfg)))


def build_of_lazy(
    file: str, weights: str | None, threshold: float, device: str, *, url: str = ""
) -> Detector:
    """Build a detector from a LazyConfig, which is executed as Python code.

    Args:
        file: defines `model` and `dataloader`, as in Detectron2.
        weights: weights file instead of `train.init_checkpoint`.
        threshold: score threshold.
        device: "cpu" or "cuda".
        url: URL of the weights instead of `train.init_checkpoint`.

    Raises:
        ValueError: no model or no test-time mapper is defined; weights are missing or do not fit.
        FileNotFoundError: the weights cannot be downloaded.
    """
    cfg = LazyConfig.load(file)
    try:
        mapper, data = cfg.dataloader.test.mapper, cfg.dataloader.test.dataset.names
        trained_on, parts = cfg.dataloader.train.dataset.names, cfg.model
    except AttributeError as error:
        raise ValueError(
            f"{file}: a LazyConfig of a detector defines model, and dataloader.train and .test as "
            f"Detectron2's do ({error})"
        ) from None
    named = url or cfg.get("train", {}).get("init_checkpoint", "")
    source = weights or local_weights(named, file)
    model = instantiate(parts).to(device)
    OrderCheckpointer(model, strict=True).load(source)
    augmentations = [instantiate(part) for part in mapper.augmentations]
    finder = Finder(model, augmentations, mapper.image_format, file)
    about = _about(file, weights, _listed(trained_on), zoo=bool(url))
    return Detector(finder, about, threshold, _class_names(_listed(data)[:1]))


def local_weights(source: str, file: str) -> str:
    """Return the local file of weights, downloaded if necessary.

    Args:
        source: a file, or a URL: http, https or detectron2.
        file: the configuration, for error messages.

    Raises:
        ValueError: no weights, or only ImageNet weights of the backbone.
        FileNotFoundError: the weights cannot be downloaded; see `fetched`.
    """
    if not source or IMAGENET in source:
        named = f"names weights of ImageNet alone ({source})" if source else "names no weights"
        raise ValueError(f"{file}: {named}: name a file with the detector's weights")
    if "://" not in source:
        return source
    url = source.replace(Detectron2Handler.PREFIX, Detectron2Handler.S3_DETECTRON2_PREFIX)
    path = Path(get_cache_dir(), urlparse(url).path.lstrip("/"))
    return str(fetched(url, path, lambda: PathManager.get_local_path(url)))


def _test_data(cfg: CfgNode) -> list[str]:
    """Return the name of the data set that defines a model's classes, as a list of one or none."""
    return [*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN][:1]


def _listed(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _class_names(data: list[str]) -> list[str] | None:
    """Return the class names of a data set, or None if it is not registered."""
    known = [name for name in data if name in MetadataCatalog.list()]
    return MetadataCatalog.get(known[0]).get("thing_classes") if known else None


def _about(file: str, weights: str | None, data: list[str], *, zoo: bool) -> str:
    owner = "Detectron2's " if zoo else ""
    trained = " and ".join(data) or "what its author says"
    named = f"weights {Path(weights).name}; " if weights else ""
    return f"{owner}{Path(file).stem} ({named}trained on {trained}, by its configuration)"
