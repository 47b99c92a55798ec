"""Settings of the order head of `occ_order.methods.order_head`."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_order_head_config(cfg: CfgNode) -> None:
    """Add MODEL.ORDER_HEAD, for OrderROIHeads, CascadeOrderROIHeads and Res5OrderROIHeads."""
    cfg.MODEL.ORDER_HEAD = head = CfgNode()
    # What is trained. "all": detector and order. "order": the order head and the backbone, by the
    # orders alone. "head": the order head, on a detector that stays exactly as it is. The last two
    # need META_ARCHITECTURE OrderRCNN.
    head.TRAIN = "all"
    # Map of the backbone that the head takes beside the image; "" = the finest ("p2" of a feature
    # pyramid, "res4" of a C4 network, "res5" of a DC5 network).
    head.IN_FEATURE = ""
    # Pixels a side of a cell of the head's own map; the stride of IN_FEATURE is 1, 2 or 4 times it.
    head.STRIDE = 4
    # Channels of that map; of its coarser levels 2 and 4 times as many.
    head.WIDTH = 32
    # Normalisation of that map's convolutions, as Detectron2 names them.
    head.NORM = "BN"
    # Whether the map sees the image, beside the outlines of the masks and IN_FEATURE.
    head.USE_IMAGE = True
    # Two instances meet where one lies within so many cells of the other.
    head.CONTACT_RADIUS = 1
    # Channels of a pair and of an instance.
    head.HIDDEN = 64
    # How often instances gather what was seen of their pairs, and pairs look again.
    head.ROUNDS = 2
    # Factors of the two losses.
    head.OCCLUSION_LOSS_WEIGHT = 1.0
    head.DEPTH_LOSS_WEIGHT = 1.0
    # Weights of distinct and of overlapping pairs in the depth loss (InstaOrder's code: 0.9, 0.1).
    head.DEPTH_LOSS_WEIGHTS = [0.9, 0.1]
    # Training masks are annotated ones. To resemble found ones, each is dilated or eroded by a
    # pixel with this probability, and left out with the other one.
    head.MASK_NOISE = 0.0
    head.MASK_DROP = 0.0
    # A found instance with a lower score gets no order (-1) and does not disturb that of others.
    head.SCORE_THRESH = 0.5
    # An instance occludes another where the probability is above this.
    head.OCCLUSION_THRESHOLD = 0.5
    # Evaluator HolisticOrder: mask IoU that a match must exceed, score below which a found instance
    # is not looked at, and whether classes matter.
    cfg.TEST.HOLISTIC = CfgNode()
    cfg.TEST.HOLISTIC.IOU_THRESH = 0.5
    cfg.TEST.HOLISTIC.SCORE_THRESH = 0.5
    cfg.TEST.HOLISTIC.CLASS_AGNOSTIC = False
