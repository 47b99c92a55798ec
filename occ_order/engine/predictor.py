"""From one image, and masks if there are any, to instances with their order."""

from __future__ import annotations

import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from detectron2.config import CfgNode
from torch import nn

import occ_order.engine.detector_order  # noqa: F401  (registers it)
from occ_order import model_zoo
from occ_order.config import check_settings, load_cfg
from occ_order.formats.given import as_instances
from occ_order.instances import OrderedInstances
from occ_order.methods.build import build_mapper
from occ_order.methods.common.ordered import from_instances
from occ_order.methods.common.reading import read_picture
from occ_order.methods.sln.decode import sem_dist_maps


class OrderPredictor:
    """Runs one model on images of any size.

        predictor = OrderPredictor.from_zoo()      # orders given masks; others by their names
        result = predictor(image, masks)           # your instances, in your order
        result = OrderPredictor.from_zoo("NAME")(image)   # instances that the model finds

    What comes out is :class:`occ_order.instances.OrderedInstances`. InstaDepthNet gives
    `disparity`, and instances only if masks are given; SLN `amodal`, `levels` and `sem_dist`.
    """

    def __init__(self, model: nn.Module, cfg: CfgNode):
        """Takes a model with its weights and its settings.

        Args:
            model: in evaluation mode.
            cfg: how pictures are prepared for it.

        Raises:
            ValueError: a setting would run code (`occ_order.config.check_settings`).
        """
        check_settings(cfg)
        self.model = model.eval()
        cfg = cfg.clone()
        cfg.defrost()
        cfg.INPUT.KEEP_GROUND_TRUTH = False
        self._map_picture = build_mapper(cfg, is_train=False)
        cfg.INPUT.KEEP_GROUND_TRUTH = True
        self._map_instances = build_mapper(cfg, is_train=False)

    @classmethod
    def from_zoo(cls, name: str = model_zoo.ORDERS_MASKS, *, device: str = "cpu") -> OrderPredictor:
        """Return a predictor with a model of the zoo; by default the one that orders given masks.

        Args:
            name: one of `occ_order.model_zoo.names()`.
            device: "cpu" or "cuda".
        """
        return cls(model_zoo.get(name, device=device), model_zoo.get_cfg(name, device=device))

    @classmethod
    def from_config(cls, file: str | os.PathLike[str], opts: Sequence[str] = ()) -> OrderPredictor:
        """A model by its YAML file; MODEL.WEIGHTS and MODEL.DEVICE may stand in `opts`."""
        cfg = load_cfg(file, opts)
        return cls(model_zoo.build(cfg), cfg)

    @property
    def needs_masks(self) -> bool:
        """Whether the model finds no instances itself."""
        return getattr(self.model, "requires_masks", False)

    @property
    def takes_masks(self) -> bool:
        """Whether the model can order given masks."""
        return getattr(self.model, "accepts_masks", False)

    def __call__(
        self,
        image: np.ndarray | str | os.PathLike[str],
        masks: Any = None,
        *,
        classes: Sequence[int] | None = None,
    ) -> OrderedInstances:
        """Order the instances of one image.

        Args:
            image: uint8 (H, W, 3) RGB, or a file, which is turned as its EXIF orientation says.
            masks: the visible parts of N instances: (N, H, W), a label map, a file, instances, or
                what another library found (:mod:`occ_order.formats.given`); the result keeps their
                ids, names, classes and scores. None lets the model find instances.
            classes: contiguous class of each mask, for models that look at it; default: all 0.

        Returns:
            The instances, at the image's size, with what the model says of them.

        Raises:
            ValueError: not such an image; masks of another size; a model that needs masks without
                any, or that cannot take any.
            FileNotFoundError: there is no such file.
        """
        picture = load_picture(image)
        if masks is None and self.needs_masks:
            raise ValueError(
                f"{type(self.model).__name__} orders given masks and finds none itself: give masks"
            )
        if masks is not None and not self.takes_masks:
            raise ValueError(
                f"{type(self.model).__name__} finds its instances itself and takes no masks"
            )
        named = Path(image) if isinstance(image, str | os.PathLike) else None
        known: dict[str, Any] = {"image_id": 0, "file_name": None}
        if named is not None:
            known = {"image_id": named.stem, "file_name": named.name}
        if masks is None:
            return self._found(picture).replace(**known)
        name = None if named is None else named.name
        given = as_instances(masks, picture.shape[:2], image_name=name)
        if isinstance(masks, OrderedInstances | str | os.PathLike):  # which know their image
            known = {"file_name": given.file_name or name}
        return self._ordered(picture, given, classes).replace(**known)

    def output(self, image: np.ndarray | str | os.PathLike[str]) -> dict[str, Any]:
        """Return everything that the model gives for an image alone, as its class says.

        Args:
            image: as of a call.
        """
        return self._run(self._map_picture(_record(load_picture(image))), given=False)

    def _found(self, picture: np.ndarray) -> OrderedInstances:
        """What the model finds itself; one that finds nothing may tell of the whole image."""
        output, size = self.output(picture), (picture.shape[0], picture.shape[1])
        known: dict[str, Any] = {"image": picture, "disparity": disparity_of(output)}
        if "instances" not in output:
            return OrderedInstances(0, size, np.zeros((0, *size), bool), **known)
        found = output["instances"].to("cpu")
        if found.has("pred_levels"):
            known["sem_dist"] = sem_dist_maps(found)
        return from_instances(found, **known)

    def _ordered(
        self,
        picture: np.ndarray,
        given: OrderedInstances,
        classes: Sequence[int] | None,
    ) -> OrderedInstances:
        """Given instances with what the model says of them.

        A model looks at masks of its input's size; what comes back are the user's own.
        """
        kinds = [0] * len(given) if classes is None else [int(kind) for kind in classes]
        if len(kinds) != len(given):
            raise ValueError(f"got {len(kinds)} classes for {len(given)} masks")
        annotations = [{"category_id": kind} for kind in kinds]
        record = {**_record(picture), "masks": given.modal, "annotations": annotations}
        output = self._run(self._map_instances(record), given=True)
        said = from_instances(output["instances"].to("cpu"))
        keys = ("occlusion", "occlusion_prob", "depth", "depth_prob")
        return given.replace(
            **{key: getattr(said, key) for key in keys},
            overlap=None,
            count=None,
            amodal=given.amodal if said.amodal is None else said.amodal,
            disparity=disparity_of(output),
            image=picture,
        )

    @torch.inference_mode()
    def _run(self, item: dict[str, Any], *, given: bool) -> dict[str, Any]:
        if hasattr(self.model, "given_masks"):  # it does both, and is told which
            self.model.given_masks = given
        return dict(self.model([item])[0])


def load_picture(image: np.ndarray | str | os.PathLike[str]) -> np.ndarray:
    """A picture as uint8 (H, W, 3) RGB, from a file or checked.

    Raises:
        ValueError: neither of them.
        FileNotFoundError: there is no such file.
    """
    if isinstance(image, str | os.PathLike):
        if not Path(image).is_file():
            raise FileNotFoundError(f"there is no image {os.fspath(image)}")
        return read_picture({"file_name": os.fspath(image)}, "RGB")
    image = np.asarray(image)
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or not image.size:
        raise ValueError(f"a picture must be uint8 (H, W, 3), got {image.dtype} {image.shape}")
    return image


def _record(picture: np.ndarray) -> dict[str, Any]:
    """A picture as mappers take it."""
    height, width = picture.shape[:2]
    known = {"image_id": 0, "height": height, "width": width, "annotations": []}
    return {"picture": picture, **known}


def disparity_of(output: dict[str, Any]) -> np.ndarray | None:
    """float32 (H, W) of a model's output; None where it has none."""
    disparity = output.get("disparity")
    return None if disparity is None else disparity.float().cpu().numpy()


@functools.lru_cache(maxsize=4)
def of_zoo(name: str, device: str) -> OrderPredictor:
    """Return a predictor with a model of the zoo, the same one when asked again."""
    return OrderPredictor.from_zoo(name, device=device)


def predict(
    photo: np.ndarray | str | os.PathLike[str],
    masks: Any = None,
    *,
    model: str | None = None,
    detector: str | None = None,
    device: str = "cpu",
) -> OrderedInstances:
    """Order the instances of one photograph. Models stay in memory between calls.

    Args:
        photo: uint8 (H, W, 3) RGB, or a file.
        masks: whatever :mod:`occ_order.formats.given` knows: an array (N, H, W), a label map, a
            file, what another library found; None finds instances.
        model: name in the zoo of the model that orders. Default: with masks or a detector,
            `model_zoo.ORDERS_MASKS`; else one that finds instances and orders them.
        detector: name in the zoo of the model that finds the instances which `model` orders.
        device: "cpu" or "cuda".

    Raises:
        ValueError: as `OrderPredictor`; a detector and masks; no such model.
        FileNotFoundError: there is no such file.
    """
    if detector is not None and masks is not None:
        raise ValueError("a detector finds instances and masks name them: give one of them")
    if detector is not None:
        masks = of_zoo(detector, device)(photo)
    name = model or (model_zoo.FINDS_INSTANCES if masks is None else model_zoo.ORDERS_MASKS)
    return of_zoo(name, device)(photo, masks)
