"""The Semantics Layering Network: encoder, GLM, RPN, and ROI heads with ILM and refinement."""

from __future__ import annotations

from typing import Any

import torch
from detectron2.config import CfgNode, configurable
from detectron2.layers import ShapeSpec
from detectron2.modeling import (
    META_ARCH_REGISTRY,
    build_backbone,
    build_proposal_generator,
    build_roi_heads,
)
from detectron2.modeling.meta_arch import GeneralizedRCNN
from detectron2.structures import ImageList, Instances
from detectron2.utils.events import get_event_storage

from occ_order.methods.sln.decode import decode_instances
from occ_order.methods.sln.global_layering import (
    LAYER_MAPS,
    GlobalLayering,
    LayerFusion,
    overlap_layers,
)
from occ_order.methods.sln.losses import global_layering_loss
from occ_order.methods.sln.mixing import MixedLater
from occ_order.methods.sln.rpn_head import RecomputingRPNHead
from occ_order.methods.sln.stages import Freezer, Stages

Losses = dict[str, torch.Tensor]


@META_ARCH_REGISTRY.register()
class SemanticsLayeringNetwork(GeneralizedRCNN):
    """SLN (Fig. 4), and without its global layering module the amodal Mask R-CNN baselines.

    In training every image needs `instances` with gt_boxes (around amodal masks), gt_classes and
    gt_levels (`occ_order.methods.sln.level_maps.LevelMaps`), as `LayeringMapper` gives them.

    Losses are those of Eq. 6: loss_global_layering (l_G), those of the RPN and of the box head
    (l_R and the classification losses that a detector cannot do without), loss_instance_layering
    (l_I) and loss_refinement (l_M), all weighted by configuration.
    """

    @configurable
    def __init__(
        self,
        *,
        global_layering: GlobalLayering | None = None,
        layer_fusion: LayerFusion | None = None,
        global_weight: float = 1.0,
        stages: Stages | None = None,
        threshold: float = 0.5,
        overlap: str = "product",
        vote: str = "component",
        nms: float = 1.0,
        **kwargs: Any,
    ) -> None:
        """Keep the parts.

        Args:
            global_layering: GLM, or None.
            layer_fusion: works its maps into the features of the RPN.
            global_weight: lambda_G of Eq. 6.
            stages: of the training; None trains everything together.
            threshold: c, see `decode_instances`.
            overlap: how the region that two objects share is taken.
            vote: how regional order becomes one order.
            nms: threshold of `level_nms` for what was detected; 1 leaves it out.
            **kwargs: of `GeneralizedRCNN`.

        Raises:
            ValueError: a stage for the GLM, but no GLM.
        """
        super().__init__(**kwargs)
        self.global_layering, self.layer_fusion = global_layering, layer_fusion
        self.global_weight = global_weight
        self.stages = stages
        if stages is not None and "glm" in stages.names and global_layering is None:
            raise ValueError(f"stages {stages.names} train a GLM, but the network has none")
        self.decoding = {"threshold": threshold, "overlap": overlap, "vote": vote}
        self.nms = nms
        self._freezer = Freezer(self)

    @classmethod
    def from_config(cls, cfg: CfgNode) -> dict[str, Any]:
        """Arguments from MODEL, with MODEL.SLN; SOLVER.MAX_ITER divides the stages."""
        sln, backbone = cfg.MODEL.SLN, build_backbone(cfg)
        shapes = dict(backbone.output_shape())
        result: dict[str, Any] = {}
        if sln.GLOBAL_LAYERING.ENABLED:
            result["global_layering"] = GlobalLayering(
                shapes,
                in_features=sln.GLOBAL_LAYERING.IN_FEATURES,
                num_levels=sln.NUM_LEVELS,
                channels=sln.GLOBAL_LAYERING.CONV_DIM,
                norm=sln.GLOBAL_LAYERING.NORM,
                recompute=sln.ENCODER.RECOMPUTE,
            )
            channels = shapes[cfg.MODEL.RPN.IN_FEATURES[0]].channels
            result["layer_fusion"] = LayerFusion(
                channels,
                sln.NUM_LEVELS,
                later=RecomputingRPNHead.__name__ == cfg.MODEL.RPN.HEAD_NAME,
            )
            stride = result["global_layering"].stride
            shapes[LAYER_MAPS] = ShapeSpec(channels=sln.NUM_LEVELS, stride=stride)
        if list(sln.STAGES) != ["joint"]:
            result["stages"] = Stages(sln.STAGES, sln.STAGE_SHARES, cfg.SOLVER.MAX_ITER)
        return {
            **result,
            "backbone": backbone,
            "proposal_generator": build_proposal_generator(cfg, backbone.output_shape()),
            "roi_heads": build_roi_heads(cfg, shapes),
            "input_format": cfg.INPUT.FORMAT,
            "vis_period": cfg.VIS_PERIOD,
            "pixel_mean": cfg.MODEL.PIXEL_MEAN,
            "pixel_std": cfg.MODEL.PIXEL_STD,
            "global_weight": sln.GLOBAL_LAYERING.LOSS_WEIGHT,
            "threshold": sln.THRESHOLD,
            "overlap": sln.OVERLAP,
            "vote": sln.VOTE,
            "nms": sln.LEVEL_NMS,
        }

    def train(self, mode: bool = True) -> SemanticsLayeringNetwork:
        """Set the mode; the parts frozen in the current stage stay in evaluation mode."""
        super().train(mode)
        if hasattr(self, "_freezer"):
            self._freezer.rest()
        return self

    def forward(self, batched_inputs: list[dict[str, Any]]) -> Losses | list[dict[str, Instances]]:
        """Losses in training, else one {"instances": Instances} for each image.

        Args:
            batched_inputs: as of Detectron2's detectors.

        Returns:
            Predictions have pred_boxes (amodal), scores, pred_classes, pred_level_prob and the
            fields that `decode_instances` adds. In a stage of the training, the losses of its
            parts only.
        """
        if not self.training:
            return self.inference(batched_inputs)
        stage = self._enter_stage()
        images = self.preprocess_image(batched_inputs)
        truth = [x["instances"].to(self.device) for x in batched_inputs]
        losses, features, proposal_features = self._features(images, truth)
        if stage == "glm":
            return losses
        proposals, found = self.proposal_generator(images, proposal_features, truth)
        if stage == "rpn":
            return found
        losses.update(found)
        _, found = self.roi_heads(images, features, proposals, truth)
        if self.vis_period > 0 and get_event_storage().iter % self.vis_period == 0:
            self.visualize_training(batched_inputs, proposals)
        return found if stage == "ilm" else {**losses, **found}

    def inference(
        self,
        batched_inputs: list[dict[str, Any]],
        detected_instances: list[Instances] | None = None,
        do_postprocess: bool = True,
    ) -> list[Any]:
        """Predictions; arguments as of `GeneralizedRCNN.inference`."""
        images = self.preprocess_image(batched_inputs)
        _, features, proposal_features = self._features(images)
        if detected_instances is None:
            proposals, _ = self.proposal_generator(images, proposal_features, None)
            results, _ = self.roi_heads(images, features, proposals, None)
            nms = self.nms
        else:
            nms = 1.0  # what was given is answered, all of it
            given = [x.to(self.device) for x in detected_instances]
            results = self.roi_heads.forward_with_given_boxes(features, given)
        if not do_postprocess:
            return results
        return [
            {"instances": self._decode(result, item, size, nms)}
            for result, item, size in zip(results, batched_inputs, images.image_sizes, strict=True)
        ]

    def _decode(
        self, result: Instances, item: dict[str, Any], size: tuple[int, int], nms: float
    ) -> Instances:
        height, width = item.get("height", size[0]), item.get("width", size[1])
        return decode_instances(result, height, width, nms=nms, **self.decoding)

    def _enter_stage(self) -> str:
        """Return the stage of this iteration; freeze and unfreeze parts at its start."""
        if self.stages is None:
            return "joint"
        stage = self.stages.at(get_event_storage().iter)
        if stage != self._freezer.stage:
            self._freezer.enter(stage)
        return stage

    def _features(
        self, images: ImageList, truth: list[Instances] | None = None
    ) -> tuple[Losses, dict[str, torch.Tensor], dict[str, torch.Tensor | MixedLater]]:
        """Loss of the GLM (with `truth`), features for the heads, features for the RPN."""
        features = self.backbone(images.tensor)
        if self.global_layering is None:
            return {}, features, features
        counts = self.global_layering(features)
        losses = {}
        if truth is not None:
            size = images.tensor.shape[-2:]
            levels = self.global_layering.num_levels
            layers = overlap_layers(truth, size, counts.shape[-2:], levels)
            loss = global_layering_loss(counts, layers)
            losses["loss_global_layering"] = self.global_weight * loss
        maps = self.global_layering.layer_maps(counts)
        assert self.layer_fusion is not None  # they are made together
        return losses, {**features, LAYER_MAPS: maps}, self.layer_fusion(features, maps)
