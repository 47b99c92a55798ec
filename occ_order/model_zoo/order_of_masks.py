"""The order of input masks as a function, predicted by a model."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from detectron2.config import CfgNode
from torch import nn

from occ_order.instances import OrderedInstances
from occ_order.methods.build import Mapper, build_mapper
from occ_order.methods.common.ordered import model_input


class OrderOfMasks:
    """Predict the order of input masks by a model with its own preprocessing.

    Args:
        settings: returns the model's config; called on first use.
        build: builds the model from the config.
    """

    def __init__(
        self, settings: Callable[[], CfgNode], build: Callable[[CfgNode], nn.Module]
    ) -> None:
        self._settings, self._build = settings, build

    @functools.cached_property
    def _parts(self) -> tuple[nn.Module, Mapper]:
        cfg = self._settings()
        cfg.INPUT.KEEP_GROUND_TRUTH = False  # the masks come from the caller
        return self._build(cfg), build_mapper(cfg, is_train=False)

    def __call__(self, image: np.ndarray, masks: np.ndarray) -> dict[str, Any]:
        """Return the output of the model.

        Args:
            image: uint8 (H, W, 3) RGB.
            masks: bool (N, H, W), modal.
        """
        model, mapper = self._parts
        classes = np.zeros(len(masks), np.int64)
        given = OrderedInstances(0, image.shape[:2], masks, classes=classes)
        return model([model_input(mapper, image, given)])[0]
