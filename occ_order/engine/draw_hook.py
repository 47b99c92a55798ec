"""Visualisation of predictions during training, for TensorBoard and wandb."""

from __future__ import annotations

import copy
import functools
from collections.abc import Mapping
from typing import Any

import cv2
import numpy as np
import torch
from detectron2.config import CfgNode
from detectron2.data import DatasetCatalog
from detectron2.engine import HookBase
from detectron2.evaluation import inference_context
from detectron2.structures import Instances
from torch import nn

from occ_order.draw.boundaries import draw_oriented_boundary
from occ_order.draw.disparity import draw_disparity
from occ_order.draw.image_panels import panels
from occ_order.engine.checkpoint import kept_random_state
from occ_order.methods.build import build_mapper
from occ_order.methods.common.ordered import from_instances
from occ_order.methods.common.reading import read_image
from occ_order.panels import PREDICTED

MOST = 20
"""Maximum number of instances to draw; those with the highest scores."""
FAINT = 0.1
"""Minimum weight of an oriented boundary to draw."""


class PredictionImages(HookBase):
    """Write images of predictions to the event storage every VIS_PERIOD iterations.

    Always uses the first images of the first data set of DATASETS.TEST. The names are
    `val_0/overlay`, `val_0/occlusion_graph`, `val_0/boundary` and so on, depending on the network's
    output. Runs in one process, in evaluation mode, without effect on the training.
    """

    def __init__(self, cfg: CfgNode, *, number: int = 2) -> None:
        """Initialise the hook; images are read later.

        Args:
            cfg: config with VIS_PERIOD, DATASETS.TEST and the mapper's keys.
            number: maximum number of images.
        """
        self._cfg, self._number = cfg, number

    @functools.cached_property
    def _samples(self) -> list[tuple[dict[str, Any], np.ndarray]]:
        """Return the network's input and the image, uint8 (H, W, 3) RGB, of each sample."""
        if not self._cfg.DATASETS.TEST:
            return []
        records = DatasetCatalog.get(self._cfg.DATASETS.TEST[0])[: self._number]
        mapper = build_mapper(self._cfg, is_train=False)
        return [(mapper(copy.deepcopy(record)), read_image(record, "RGB")) for record in records]

    def after_step(self) -> None:
        """Draw every VIS_PERIOD iterations."""
        if (self.trainer.iter + 1) % self._cfg.VIS_PERIOD:
            return
        model = getattr(self.trainer.model, "module", self.trainer.model)
        with kept_random_state():
            self._draw(model)

    def _draw(self, model: nn.Module) -> None:
        with inference_context(model), torch.no_grad():
            for k, (item, image) in enumerate(self._samples):
                output = model([item])[0]
                for name, drawn in output_images(image, output).items():
                    channels_first = np.ascontiguousarray(drawn.transpose(2, 0, 1))
                    self.trainer.storage.put_image(f"val_{k}/{name}", channels_first)


def output_images(image: np.ndarray, output: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Draw all images that a network's output allows.

    Args:
        image: uint8 (H, W, 3) RGB, at the size of the output.
        output: output of any network of this package.

    Returns:
        name -> uint8 (h, w, 3): images of `PREDICTED`, "boundary", "disparity".
    """
    made = {}
    if "instances" in output:
        result = from_instances(_surest(output["instances"].to("cpu")))
        drawn = panels(result, image, kinds=PREDICTED)
        made.update({kind: panel.image for kind, panel in drawn.items()})
    if "occ_boundary" in output:
        weights = output["occ_boundary"][:4].cpu().numpy()
        weights = np.where(weights >= FAINT, weights, 0)
        ground = cv2.resize(image, weights.shape[:0:-1], interpolation=cv2.INTER_AREA)
        made["boundary"] = draw_oriented_boundary(weights, ground, legend=True)
    if "disparity" in output:
        made["disparity"] = draw_disparity(output["disparity"].cpu().numpy())
    return made


def _surest(instances: Instances) -> Instances:
    if len(instances) <= MOST or not instances.has("scores"):
        return instances[:MOST]
    return instances[torch.argsort(instances.scores, descending=True)[:MOST].sort().values]
