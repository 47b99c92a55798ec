"""Export of a class-agnostic Mask R-CNN, for `occ_order.lite.segmenter`.

From the image to boxes, scores and masks in boxes: proposals and non-maximum suppression are ONNX
operators (TopK, NonMaxSuppression, RoiAlign), so that the size of the image is dynamic. The
computation is that of Detectron2's GeneralizedRCNN in the same order, except that only boxes
selected by TopK are decoded.

Shapes: A anchors of a level, P proposals, N instances, M x M mask of a box.
"""

from __future__ import annotations

import torch
from detectron2.config import CfgNode
from detectron2.modeling import GeneralizedRCNN, StandardROIHeads
from detectron2.modeling.box_regression import Box2BoxTransform
from detectron2.modeling.poolers import ROIPooler
from detectron2.modeling.proposal_generator import RPN
from torch import nn
from torchvision.ops import nms

from occ_order.lite import segmenter as lite
from occ_order.methods.segmenter.meta_arch import MirroredRCNN


class SegmenterGraph(nn.Module):
    """A `GeneralizedRCNN` with masks and one class, for one image."""

    def __init__(self, model: GeneralizedRCNN) -> None:
        """Share the weights of the model.

        Raises:
            ValueError: the model has several classes, no masks, or modules other than Detectron2's.
        """
        super().__init__()
        heads = model.roi_heads
        if not isinstance(model.proposal_generator, RPN) or not isinstance(heads, StandardROIHeads):
            raise ValueError("only a Mask R-CNN of RPN and StandardROIHeads can be exported")
        if heads.num_classes != 1 or not heads.mask_on:
            raise ValueError(
                f"only a Mask R-CNN with masks and one class can be exported, got "
                f"{heads.num_classes} classes, masks {heads.mask_on}"
            )
        self.backbone, self.rpn, self.heads = model.backbone, model.proposal_generator, heads
        self.register_buffer("mean", model.pixel_mean.clone())
        self.register_buffer("std", model.pixel_std.clone())

    def forward(
        self, image: torch.Tensor, size: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Segment the instances.

        Args:
            image: float32 (1, 3, H, W), 0 .. 255, padded to the network's strides.
            size: int64 (2,), height and width of the image without padding.

        Returns:
            float32 (N, 4) boxes in pixels of the input; (N,) scores, descending; (N, M, M)
            probabilities of the masks.
        """
        features = self.backbone((image - self.mean) / self.std)
        limits = size.flip(0).repeat(2).to(image.dtype)
        proposals = self._proposals([features[name] for name in self.rpn.in_features], limits)
        boxes, scores = self._detections(features, proposals, limits)
        pooled = _pooled(self.heads.mask_pooler, features, self.heads.mask_in_features, boxes)
        masks = self.heads.mask_head.layers(pooled)[:, 0].sigmoid()
        return boxes, scores, masks

    def _proposals(self, features: list[torch.Tensor], limits: torch.Tensor) -> torch.Tensor:
        """Return proposals float32 (P, 4) as RPN and find_top_rpn_proposals do."""
        logits, deltas = self.rpn.rpn_head(features)
        anchors = self.rpn.anchor_generator(features)
        chosen, certain = [], []
        for logit, delta, anchor in zip(logits, deltas, anchors, strict=True):
            score = logit.permute(0, 2, 3, 1).flatten()
            delta = delta.permute(0, 2, 3, 1).reshape(-1, 4)
            score, top = _best(score, self.rpn.pre_nms_topk[False])
            boxes = _moved(self.rpn.box2box_transform, delta[top], anchor.tensor[top], limits)
            there = ((boxes[:, 2:] - boxes[:, :2]) > self.rpn.min_box_size).all(1)
            boxes, score = boxes[there], score[there]
            kept = nms(boxes, score, self.rpn.nms_thresh)
            chosen.append(boxes[kept])
            certain.append(score[kept])
        _, top = _best(torch.cat(certain), self.rpn.post_nms_topk[False])
        return torch.cat(chosen)[top]

    def _detections(
        self, features: dict[str, torch.Tensor], proposals: torch.Tensor, limits: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Return boxes (N, 4) and scores (N,) as fast_rcnn_inference does for one class."""
        predictor = self.heads.box_predictor
        pooled = _pooled(self.heads.box_pooler, features, self.heads.box_in_features, proposals)
        logits, deltas = predictor(self.heads.box_head(pooled))
        boxes = _moved(predictor.box2box_transform, deltas, proposals, limits)
        scores = logits.softmax(1)[:, 0]
        there = scores > predictor.test_score_thresh
        boxes, scores = boxes[there], scores[there]
        kept = nms(boxes, scores, predictor.test_nms_thresh)
        if predictor.test_topk_per_image >= 0:
            kept = kept[: predictor.test_topk_per_image]
        return boxes[kept], scores[kept]


def _best(scores: torch.Tensor, most: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the `most` largest values and their indices, in descending order."""
    number = scores.shape[0]
    traced = isinstance(number, torch.Tensor)  # keeps the number dynamic in the graph
    return scores.topk(number.clamp(max=most) if traced else min(number, most))


def _moved(
    transform: Box2BoxTransform, deltas: torch.Tensor, boxes: torch.Tensor, limits: torch.Tensor
) -> torch.Tensor:
    """Apply box regression to boxes (K, 4) and clip them to the image."""
    return torch.minimum(transform.apply_deltas(deltas, boxes).clamp(min=0), limits)


def _pooled(
    pooler: ROIPooler, features: dict[str, torch.Tensor], names: list[str], boxes: torch.Tensor
) -> torch.Tensor:
    """Pool features of boxes (K, 4) from several levels, float32 (K, C, S, S)."""
    area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    level = torch.log2(area.sqrt() / pooler.canonical_box_size + 1e-8) + pooler.canonical_level
    level = level.floor().clamp(pooler.min_level, pooler.max_level) - pooler.min_level
    parts, places = [], []
    for number, (pool, name) in enumerate(zip(pooler.level_poolers, names, strict=True)):
        at = (level == number).nonzero()[:, 0]
        regions = boxes[at]
        regions = torch.cat([torch.zeros_like(regions[:, :1]), regions], 1)  # image 0
        parts.append(pool(features[name], regions))
        places.append(at)
    return torch.cat(parts)[torch.cat(places).argsort()]


def settings_of(model: GeneralizedRCNN, cfg: CfgNode) -> lite.Settings:
    """Return the settings for the metadata of the graph.

    The graph sees one image: that of a `MirroredRCNN` is run twice.
    """
    red, green, blue = (float(value) for value in model.pixel_mean.flatten())
    return lite.Settings(
        min_size=cfg.INPUT.MIN_SIZE_TEST,
        max_size=cfg.INPUT.MAX_SIZE_TEST,
        channels=cfg.INPUT.FORMAT,
        mean=(red, green, blue),
        divisibility=model.backbone.size_divisibility,
        mirror=isinstance(model, MirroredRCNN),
        most=model.roi_heads.box_predictor.test_topk_per_image,
    )


def example(settings: lite.Settings) -> tuple[torch.Tensor, torch.Tensor]:
    """Create a noise image, which results in proposals of all sizes, and its unpadded size."""
    side = -(-settings.min_size // settings.divisibility) * settings.divisibility
    image = torch.rand((1, 3, side, side + settings.divisibility)) * 255
    return image, torch.tensor([side, side + settings.divisibility])
