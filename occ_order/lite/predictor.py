"""Given masks of a photograph to instances with their order, without PyTorch."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from occ_order import model_zoo
from occ_order.files import load_image
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
        masks: np.ndarray | OrderedInstances,
    ) -> OrderedInstances:
        """Order the instances of one image.

        Args:
            image: uint8 (H, W, 3) RGB, or a file, which is turned as its EXIF orientation says.
            masks: (N, H, W), nonzero = inside, the visible parts of N instances, or instances with
                masks, whose ids, names, classes and scores the result keeps.

        Raises:
            ValueError: not such an image; masks of another size.
        """
        named = Path(image) if isinstance(image, str | os.PathLike) else None
        pixels = load_image(named) if named is not None else np.asarray(image)
        given = masks
        if not isinstance(given, OrderedInstances):
            name = 0 if named is None else named.stem
            stack = np.asarray(masks)
            given = OrderedInstances(name, stack.shape[1:], stack)
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
            file_name=given.file_name or (None if named is None else named.name),
        )
