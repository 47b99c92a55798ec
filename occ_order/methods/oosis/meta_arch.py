"""OOSIS as a Detectron2 model: occlusion-ordered instances of an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.modeling import META_ARCH_REGISTRY, Backbone, build_backbone, build_sem_seg_head
from torch import nn

from occ_order.methods.common.ordered import to_instances
from occ_order.methods.oosis.decoding import Decoder
from occ_order.methods.oosis.deferred import DeferredOutput, Workers
from occ_order.methods.oosis.head import OOSISHead
from occ_order.methods.oosis.losses import IGNORE
from occ_order.methods.oosis.maps import (
    Maps,
    composed,
    maps_from_targets,
    pad_to_grid,
    predict_maps,
    probabilities,
)

MAPS = ("network", "ground_truth")


@META_ARCH_REGISTRY.register()
class OOSIS(nn.Module):
    """Network for semantic classes and oriented occlusion boundaries, and CRF for instances.

    Input: Detectron2's list of dictionaries, `image` uint8 (C, H, W). In training also `sem_seg`
    int64 (H, W), `boundary` bool (H, W), `orientation` float (4, H, W) (`OOSISMapper`); with order
    labels as classes `order_labels` int64 (H, W). Optional: `unknown` bool (H, W), where boundary
    and orientation are ignored.
    Output: one mapping per image, computed asynchronously if there are workers:

    * `instances` at the image's `height` and `width`: pred_masks bool (N, H, W) modal,
      pred_classes, scores (unbounded, larger = more confident), pred_boxes, relative_depth
      int64 (N,), occlusion (PairMatrix int8);
    * at the network's resolution: `sem_seg` (K, H, W), probabilities, background first;
      `occ_boundary` (5, H, W), o: left, right, top, bottom, none; `order_map` int32 (H, W).
    """

    @configurable
    def __init__(
        self,
        *,
        backbone: Backbone | None,
        head: OOSISHead | None,
        decoder: Decoder,
        num_classes: int,
        pixel_mean: Sequence[float],
        pixel_std: Sequence[float],
        multiple: int = 8,
        sliding: tuple[int, int] = (0, 150),
        flip: bool = False,
        maps: str = "network",
        workers: int = 0,
    ) -> None:
        """Initialise the model.

        Args:
            backbone: feature extractor; can be None if `maps` is "ground_truth".
            head: predicts the logits; can be None likewise.
            decoder: computes the instances from the maps.
            num_classes: number of classes without background.
            pixel_mean: mean of each channel.
            pixel_std: standard deviation of each channel.
            multiple: m; images are padded to m k + 1.
            sliding: side of the windows (0 = no windows) and step between them.
            flip: average with the horizontally flipped image.
            maps: "network", or "ground_truth" to decode maps computed from the annotation.
            workers: threads for decoding; 0 = decode synchronously.

        Raises:
            ValueError: unknown value of `maps`; side of the windows is not `multiple` k + 1.
        """
        super().__init__()
        if maps not in MAPS:
            raise ValueError(f"maps: got {maps!r}, expected one of {MAPS}")
        if sliding[0] and (sliding[0] - 1) % multiple:
            raise ValueError(f"windows of {sliding[0]} pixels, expected {multiple} k + 1")
        self.backbone, self.head, self.decoder = backbone, head, decoder
        self.num_classes, self.maps = num_classes, maps
        self.multiple, self.sliding, self.flip = multiple, sliding, flip
        self.workers = Workers(workers)
        self.register_buffer("pixel_mean", torch.tensor(pixel_mean).view(-1, 1, 1), False)
        self.register_buffer("pixel_std", torch.tensor(pixel_std).view(-1, 1, 1), False)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Read MODEL.OOSIS.* and the backbone's keys."""
        own, backbone = cfg.MODEL.OOSIS, build_backbone(cfg)
        strides = [shape.stride for shape in backbone.output_shape().values()]
        return {
            "backbone": backbone,
            "head": build_sem_seg_head(cfg, backbone.output_shape()),
            "decoder": Decoder(
                decoder=own.DECODER,
                nms=own.NMS,
                threshold=own.THRESHOLD,
                radius=own.NMS_RADIUS,
                smoothness=own.LAMBDA * own.SMOOTH_COUNT,
                occlusion=own.MU,
                bound=own.BOUND,
                max_jumps=own.MAX_JUMPS,
                max_label=own.ORDER_LABELS,
                min_area=own.MIN_AREA,
            ),
            "num_classes": own.NUM_CLASSES,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "multiple": max(strides),
            "sliding": (cfg.INPUT.OOSIS.CROP_SIZE if own.SLIDING else 0, own.SLIDING_STRIDE),
            "flip": own.FLIP,
            "maps": own.MAPS,
            "workers": own.WORKERS,
        }

    @property
    def device(self) -> torch.device:
        """Device of the parameters."""
        return self.pixel_mean.device

    def forward(
        self, inputs: Sequence[Mapping[str, Any]]
    ) -> dict[str, torch.Tensor] | list[Mapping[str, Any]]:
        """Return the losses in training, else the results."""
        if self.training:
            assert self.backbone is not None and self.head is not None
            batch = torch.stack(_same_size([self._normalised(x) for x in inputs], 0.0))
            features = self.backbone(pad_to_grid(batch, self.multiple))
            return self.head.losses(features, self._targets(inputs))
        return [self._infer(one) for one in inputs]

    def _infer(self, one: Mapping[str, Any]) -> dict[str, Any] | DeferredOutput:
        maps = self.predict(one)
        size = (one.get("height", one["image"].shape[-2]), one.get("width", one["image"].shape[-1]))
        return self.workers.run(decoded_output, self.decoder, maps, size)

    @torch.no_grad()
    def predict(self, one: Mapping[str, Any]) -> Maps:
        """Return the maps of one image at the resolution of its `image`."""
        if self.maps == "ground_truth":
            return maps_from_targets(
                one["sem_seg"], one["boundary"], one["orientation"], self.num_classes + 1
            )
        backbone, head = self.backbone, self.head
        assert backbone is not None and head is not None
        crop, stride = self.sliding
        return predict_maps(
            lambda batch: probabilities(head(backbone(batch))),
            self._normalised(one),
            multiple=self.multiple,
            crop=crop,
            stride=stride,
            flip=self.flip,
        )

    def _normalised(self, one: Mapping[str, Any]) -> torch.Tensor:
        return (one["image"].to(self.device).float() - self.pixel_mean) / self.pixel_std

    def _targets(self, inputs: Sequence[Mapping[str, Any]]) -> dict[str, torch.Tensor]:
        """Return the targets of a batch, padded like the images; padding is ignored."""
        targets = {}
        for key, name, padding in (
            ("sem_seg", "semantic", IGNORE),
            ("boundary", "boundary", 0),
            ("orientation", "orientation", 0),
            ("order_labels", "order", IGNORE),
            ("unknown", "unknown", 0),
        ):
            if key in inputs[0]:
                parts = [one[key].to(self.device) for one in inputs]
                parts = [part.float() if part.dtype == torch.bool else part for part in parts]
                batch = torch.stack(_same_size(parts, padding))
                targets[name] = pad_to_grid(batch, self.multiple, padding)
        return targets


def _same_size(tensors: Sequence[torch.Tensor], value: float) -> list[torch.Tensor]:
    """Pad (..., H, W) tensors on the bottom and right to the largest height and width."""
    height = max(tensor.shape[-2] for tensor in tensors)
    width = max(tensor.shape[-1] for tensor in tensors)
    return [
        nn.functional.pad(
            tensor, (0, width - tensor.shape[-1], 0, height - tensor.shape[-2]), value=value
        )
        for tensor in tensors
    ]


def decoded_output(decoder: Decoder, maps: Maps, size: tuple[int, int]) -> dict[str, Any]:
    """Decode the maps of one image; runs in a worker thread.

    Args:
        decoder: computes the instances.
        maps: maps of the network.
        size: height and width of the instances.

    Returns:
        The output of `OOSIS` for one image, on the CPU.
    """
    labels, found = decoder(*maps.numpy())
    found = found.resized(size)
    instances = to_instances(found.ordered())
    instances.relative_depth = torch.from_numpy(found.relative_depth)
    return {
        "instances": instances,
        "sem_seg": maps.semantic.cpu(),
        "occ_boundary": composed(maps).cpu(),
        "order_map": torch.from_numpy(labels),
    }
