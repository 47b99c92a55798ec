"""An image, and masks if there are any, to instances, without PyTorch."""

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
    """Return what predicts with a model of the zoo that has a graph.

    Args:
        name: one of `occ_order.model_zoo.names()`.
        threads: of ONNX Runtime; 0 = OMP_NUM_THREADS, or as many as there are cores.

    Raises:
        ImportError: ONNX Runtime is not installed.
        ValueError: there is no such model, or it has no graph.
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
    """Orders given masks of images of any size, and completes them.

        predictor = from_zoo("mask_completion_photos")
        result = predictor("photo.jpg", masks)

    Args:
        orderer: the model for the order.
        completer: the one for amodal masks; None = the result has those of the given instances.
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
        """Order the instances of one image.

        Args:
            image: uint8 (H, W, 3) RGB, or a file, which is turned as its EXIF orientation says.
            masks: the visible parts of N instances, whatever :mod:`occ_order.formats.given` knows;
                the result keeps their ids, names, classes and scores.
            classes: category id of each mask; default: those of `masks`.

        Raises:
            ValueError: not such an image; no masks, or masks of another size.
            FileNotFoundError: there is no such file.
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
            image=pixels,
        )


class LiteSegmenter:
    """Finds the instances of images of any size; they have no order.

    Args:
        segmenter: the model.
    """

    needs_masks = takes_masks = False

    def __init__(self, segmenter: Segmenter) -> None:
        self.segmenter = segmenter

    def __call__(
        self, image: np.ndarray | str | os.PathLike[str], masks: Any = None
    ) -> OrderedInstances:
        """Find the instances of one image.

        Args:
            image: uint8 (H, W, 3) RGB, or a file, which is turned as its EXIF orientation says.
            masks: None; there is nothing to be done with given ones.

        Raises:
            ValueError: not such an image; masks.
            FileNotFoundError: there is no such file.
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
