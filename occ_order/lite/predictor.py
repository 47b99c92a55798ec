"""Prediction of instances and their order for one image, without PyTorch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from occ_order import model_zoo
from occ_order.files import as_image
from occ_order.formats.given import of_image
from occ_order.instances import OrderedInstances
from occ_order.lite import completion, segmenter
from occ_order.lite.completion import MaskCompleter
from occ_order.lite.graph import Graph
from occ_order.lite.mask_order import MaskOrderer
from occ_order.lite.segmenter import Segmenter
from occ_order.order.encoding import CLOSER, EQUAL, FARTHER


def from_zoo(
    name: str = model_zoo.ORDERS_MASKS, *, threads: int = 0
) -> LitePredictor | LiteSegmenter:
    """Build a predictor with a model of the zoo that has an ONNX graph.

    Args:
        name: one of `occ_order.model_zoo.names()`.
        threads: threads of ONNX Runtime; 0 = OMP_NUM_THREADS, or the number of cores.

    Raises:
        ImportError: ONNX Runtime is not installed.
        ValueError: unknown model, or model without graph.
    """
    graph = Graph(model_zoo.graph_file(name), threads=threads)
    if segmenter.SETTINGS in graph.metadata:
        return LiteSegmenter(Segmenter(graph))
    if completion.SETTINGS not in graph.metadata:
        return LitePredictor(MaskOrderer(graph))
    completer = MaskCompleter(graph)
    orders = Graph(model_zoo.graph_file(completer.settings.order), threads=threads)
    return LitePredictor(MaskOrderer(orders), completer)


class LitePredictor:
    """Predict the order of input masks and, optionally, amodal masks, for images of any size.

        predictor = from_zoo("mask_completion_photos")
        result = predictor("photo.jpg", masks)

    Args:
        orderer: model of the order.
        completer: model of amodal masks; None = keep the amodal masks of the input.
    """

    needs_masks = takes_masks = True

    def __init__(self, orderer: MaskOrderer, completer: MaskCompleter | None = None) -> None:
        self.orderer, self.completer = orderer, completer

    def __call__(
        self,
        image: np.ndarray | str | os.PathLike[str],
        masks: Any = None,
        *,
        classes: Sequence[int] | None = None,
    ) -> OrderedInstances:
        """Predict the order of the instances of one image.

        Args:
            image: uint8 (H, W, 3) RGB, or a file, whose EXIF orientation is applied.
            masks: modal masks of N instances in a format of :mod:`occ_order.formats.given`; the
                result keeps their ids, names, classes and scores.
            classes: category id of each mask; default: those of `masks`.

        Raises:
            ValueError: invalid image; no masks, or masks of another size.
            FileNotFoundError: the file does not exist.
        """
        pixels = as_image(image)
        if masks is None:
            raise ValueError("this model orders input masks and detects nothing: pass masks")
        given = of_image(masks, image, pixels.shape[:2], classes=classes)
        said = self.orderer(pixels, given.modal)
        chances = said["occlusion_probability"].astype(np.float64)
        depth = said["depth"]
        channel = np.select([depth == CLOSER, depth == FARTHER, depth == EQUAL], [0, 1, 2], 0)
        chance = np.take_along_axis(said["depth_probability"], channel[..., None], axis=2)[..., 0]
        amodal = given.amodal
        if self.completer is not None:
            amodal = self.completer.complete(given.modal, chances)
        return given.replace(
            occlusion=said["occlusion"],
            occlusion_prob=chances,
            depth=depth,
            depth_prob=np.clip(chance.astype(np.float64), 0, 1),
            overlap=None,
            count=None,
            amodal=amodal,
            disparity=said["disparity"],
            image=pixels,
        )


class LiteSegmenter:
    """Segment the instances of images of any size, without order.

    Args:
        segmenter: the model.
    """

    needs_masks = takes_masks = False

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter

    def __call__(
        self, image: np.ndarray | str | os.PathLike[str], masks: Any = None
    ) -> OrderedInstances:
        """Segment the instances of one image.

        Args:
            image: uint8 (H, W, 3) RGB, or a file, whose EXIF orientation is applied.
            masks: must be None; input masks are not supported.

        Raises:
            ValueError: invalid image, or masks.
            FileNotFoundError: the file does not exist.
        """
        pixels = as_image(image)
        if masks is not None:
            raise ValueError("this model detects instances and does not accept input masks")
        found = self.segmenter(pixels)
        known: dict[str, Any] = {"image_id": 0}
        if isinstance(image, str | os.PathLike):
            known = {"image_id": Path(image).stem, "file_name": Path(image).name}
        return OrderedInstances(
            **known,
            size=(pixels.shape[0], pixels.shape[1]),
            modal=found.masks,
            classes=np.zeros(len(found.scores), np.int64),
            scores=found.scores.astype(np.float64),
            image=pixels,
        )
