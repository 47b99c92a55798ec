"""Given masks of a photograph to instances with their order, without PyTorch."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

import numpy as np

from occ_order import model_zoo
from occ_order.files import as_image
from occ_order.formats.given import of_image
from occ_order.instances import OrderedInstances
from occ_order.lite.mask_order import MaskOrderer
from occ_order.order.encoding import CLOSER, EQUAL, FARTHER


class LitePredictor:
    """Orders given masks of images of any size.

        predictor = LitePredictor.from_zoo()
        result = predictor("photo.jpg", masks)

    Args:
        orderer: the model.
    """

    needs_masks = takes_masks = True

    def __init__(self, orderer: MaskOrderer):
        self.orderer = orderer

    @classmethod
    def from_zoo(cls, name: str = model_zoo.ORDERS_MASKS, *, threads: int = 0) -> LitePredictor:
        """Return a predictor with a model of the zoo that has a graph.

        Args:
            name: one of `occ_order.model_zoo.names()`.
            threads: of ONNX Runtime; 0 = as many as there are cores.

        Raises:
            ImportError: ONNX Runtime is not installed.
            ValueError: there is no such model, or it has no graph.
        """
        return cls(MaskOrderer(model_zoo.graph_file(name), threads=threads))

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
            raise ValueError("this model orders given masks and finds none itself: give masks")
        given = of_image(masks, image, pixels.shape[:2], classes=classes)
        said = self.orderer(pixels, given.modal)
        depth = said["depth"]
        channel = np.select([depth == CLOSER, depth == FARTHER, depth == EQUAL], [0, 1, 2], 0)
        chance = np.take_along_axis(said["depth_probability"], channel[..., None], axis=2)[..., 0]
        return given.replace(
            occlusion=said["occlusion"],
            occlusion_prob=said["occlusion_probability"].astype(np.float64),
            depth=depth,
            depth_prob=np.clip(chance.astype(np.float64), 0, 1),
            overlap=None,
            count=None,
            image=pixels,
        )
