"""Config keys of the order head."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_order_head_config(cfg: CfgNode) -> None:
    """Add MODEL.ORDER_HEAD, for OrderROIHeads, CascadeOrderROIHeads and Res5OrderROIHeads."""
    cfg.MODEL.ORDER_HEAD = head = CfgNode()
    # Trained parameters. "all": detector and order head. "order": order head and backbone, with the
    # order losses only. "head": order head only; the detector is frozen. The last two require
    # META_ARCHITECTURE OrderRCNN.
    head.TRAIN = "all"
    # Backbone feature map of the head; "" = the finest ("p2" of a feature pyramid, "res4" of a C4
    # network, "res5" of a DC5 network).
    head.IN_FEATURE = ""
    # Stride of the head's feature map; the stride of IN_FEATURE must be 1, 2 or 4 times as large.
    head.STRIDE = 4
    # Channels of that map; its two coarser levels have 2 and 4 times as many.
    head.WIDTH = 32
    # Normalisation of that map's convolutions, a name of Detectron2.
    head.NORM = "BN"
    # Whether the map's input includes the image, in addition to mask contours and IN_FEATURE.
    head.USE_IMAGE = True
    # Contact cells of two instances are within this distance, in cells.
    head.CONTACT_RADIUS = 1
    # Channels of the features of pairs and instances.
    head.HIDDEN = 64
    # Number of rounds of message passing between pairs and instances.
    head.ROUNDS = 2
    # Weights of the two losses.
    head.OCCLUSION_LOSS_WEIGHT = 1.0
    head.DEPTH_LOSS_WEIGHT = 1.0
    # Weights of distinct and of overlapping pairs in the depth loss (InstaOrder's code: 0.9, 0.1).
    head.DEPTH_LOSS_WEIGHTS = [0.9, 0.1]
    # Ground-truth masks are augmented in training to resemble predictions: probability of dilation
    # or erosion by one pixel, and probability that an instance is dropped.
    head.MASK_NOISE = 0.0
    head.MASK_DROP = 0.0
    # Detections with a lower score have order -1 and do not affect the order of others.
    head.SCORE_THRESH = 0.5
    # Threshold of the occlusion probability.
    head.OCCLUSION_THRESHOLD = 0.5
    # Evaluator HolisticOrder: mask IoU threshold of matches (exclusive), score threshold of
    # detections, and whether classes are ignored.
    cfg.TEST.HOLISTIC = CfgNode()
    cfg.TEST.HOLISTIC.IOU_THRESH = 0.5
    cfg.TEST.HOLISTIC.SCORE_THRESH = 0.5
    cfg.TEST.HOLISTIC.CLASS_AGNOSTIC = False
