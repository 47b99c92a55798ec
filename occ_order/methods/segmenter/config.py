"""Settings of the detector of things of any class (`occ_order.methods.segmenter`)."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_segmenter_config(cfg: CfgNode) -> None:
    """Add MODEL.UNLABELLED, and of INPUT what PartlyLabelledMapper reads."""
    # PROPOSAL_GENERATOR.NAME PartlyLabelledRPN and ROI_HEADS.NAME PartlyLabelledROIHeads: a box on
    # unlabelled area that matches no labelled thing is neither a thing nor background.
    cfg.MODEL.UNLABELLED = CfgNode()
    # A box is on unlabelled area where more than this part of it is.
    cfg.MODEL.UNLABELLED.FRACTION = 0.5
    # Probability with which such a box counts as background nevertheless; 1 = Mask R-CNN as it is.
    cfg.MODEL.UNLABELLED.BACKGROUND_CHANCE = 0.0
    # Whether walls, sky and other stuff that the data mark as such count as unlabelled; if not,
    # they are background for certain.
    cfg.INPUT.STUFF_IS_UNLABELLED = True
    # In training an image is resized by a random factor between the two of SCALE, 1 being the
    # largest size at which all of it fits into SIZE (height, width), and cropped to SIZE.
    cfg.INPUT.LARGE_SCALE_JITTER = CfgNode()
    cfg.INPUT.LARGE_SCALE_JITTER.SIZE = [480, 640]
    cfg.INPUT.LARGE_SCALE_JITTER.SCALE = [0.5, 2.0]
    # Probability of changed brightness, contrast, saturation and hue in training.
    cfg.INPUT.COLOR_JITTER = 0.8
