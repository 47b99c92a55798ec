"""Detectors of Detectron2 by their configuration: its model zoo, a YAML file, or a LazyConfig."""

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
"""In the address of weights from which a training starts; they find nothing."""


class Finder:
    """Runs a model of Detectron2 on one image, as Detectron2's DefaultPredictor prepares it.

    Args:
        model: takes a list of {"image", "height", "width"}.
        augmentations: that resize an image for it.
        image_format: "RGB" or "BGR".
        name: of the model, for messages.
    """

    def __init__(
        self, model: nn.Module, augmentations: list[T.Augmentation], image_format: str, name: str
    ) -> None:
        self.model, self.name = model.eval(), name
        self.augmentations, self.image_format = T.AugmentationList(augmentations), image_format

    @torch.inference_mode()
    def __call__(self, pixels: np.ndarray, _: str | None = None) -> Instances:
        """Return the instances of an image, uint8 (H, W, 3) RGB, or the things of its panoptic map.

        Raises:
            ValueError: the model gives neither.
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
    """Return a model of Detectron2's model zoo.

    Args:
        config: its name there, with or without ".yaml".
        weights: a file instead of its own weights.
        threshold: of the score.
        device: "cpu" or "cuda".

    Raises:
        ValueError: there is no such configuration, or none with weights; weights do not fit.
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
    """Path and name of a configuration of Detectron2's model zoo."""
    if ".." in config.split("/") or os.path.isabs(config):
        raise RuntimeError(f"{config} is no name of the Model Zoo.")
    named = config if config.endswith((".yaml", ".py")) else f"{config}.yaml"
    return detectron2_zoo.get_config_file(named), named


def build_of_yaml(
    file: str, weights: str | None, threshold: float, device: str, *, url: str = ""
) -> Detector:
    """Return the model of a YAML file, which is never run as code.

    Args:
        file: of Detectron2, or of a project that extends it, whose settings are taken as they are.
        weights: a file instead of MODEL.WEIGHTS.
        threshold: of the score.
        device: "cpu" or "cuda".
        url: of the weights instead of MODEL.WEIGHTS.

    Raises:
        ValueError: the file is refused, its model is not registered, or weights are missing or do
            not fit.
        FileNotFoundError: the weights cannot be had.
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
    """Return the model of a LazyConfig: Python code, which is run.

    Args:
        file: defines `model` and `dataloader`, as those of Detectron2 do.
        weights: a file instead of `train.init_checkpoint`.
        threshold: of the score.
        device: "cpu" or "cuda".
        url: of the weights instead of `train.init_checkpoint`.

    Raises:
        ValueError: it defines no model or no mapper of images for tests; weights are missing or do
            not fit.
        FileNotFoundError: the weights cannot be had.
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
    """Return weights as a file; an address is downloaded if need be.

    Args:
        source: a file, or an address: http, https or detectron2.
        file: the configuration that names it.

    Raises:
        ValueError: there is none, or weights of ImageNet alone.
        FileNotFoundError: it cannot be had; see `fetched`.
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
    """Name of the data set whose classes a model has, as a list of one or none."""
    return [*cfg.DATASETS.TEST, *cfg.DATASETS.TRAIN][:1]


def _listed(names: Any) -> list[str]:
    return [names] if isinstance(names, str) else list(names)


def _class_names(data: list[str]) -> list[str] | None:
    """Return the names of the classes of a data set, where it is registered."""
    known = [name for name in data if name in MetadataCatalog.list()]
    return MetadataCatalog.get(known[0]).get("thing_classes") if known else None


def _about(file: str, weights: str | None, data: list[str], *, zoo: bool) -> str:
    owner = "Detectron2's " if zoo else ""
    trained = " and ".join(data) or "what its author says"
    named = f"weights {Path(weights).name}; " if weights else ""
    return f"{owner}{Path(file).stem} ({named}trained on {trained}, by its configuration)"
