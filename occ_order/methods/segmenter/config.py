"""Config keys of the class-agnostic detector (`occ_order.methods.segmenter`)."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_segmenter_config(cfg: CfgNode) -> None:
    """Add MODEL.UNLABELLED and the INPUT keys of PartlyLabelledMapper."""
    # For PROPOSAL_GENERATOR.NAME PartlyLabelledRPN and ROI_HEADS.NAME PartlyLabelledROIHeads, which
    # ignore unmatched boxes on unlabelled area.
    cfg.MODEL.UNLABELLED = CfgNode()
    # A box is on unlabelled area if more than this fraction of it is unlabelled.
    cfg.MODEL.UNLABELLED.FRACTION = 0.5
    # Probability that such a box counts as background anyway; 1 = standard Mask R-CNN.
    cfg.MODEL.UNLABELLED.BACKGROUND_CHANCE = 0.0
    # True: stuff regions of the data (wall, sky) count as unlabelled area; False: as background.
    cfg.INPUT.STUFF_IS_UNLABELLED = True
    # Large-scale jitter: images are resized by a random factor in SCALE, where 1 is the largest
    # size at which the image fits into SIZE (height, width), and cropped to SIZE.
    cfg.INPUT.LARGE_SCALE_JITTER = CfgNode()
    cfg.INPUT.LARGE_SCALE_JITTER.SIZE = [480, 640]
    cfg.INPUT.LARGE_SCALE_JITTER.SCALE = [0.5, 2.0]
    # Probability of a random change of brightness, contrast, saturation and hue in training.
    cfg.INPUT.COLOR_JITTER = 0.8
