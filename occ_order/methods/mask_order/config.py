"""Settings of MaskOrderNet, the network that orders given masks on photographs."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_mask_order_config(cfg: CfgNode) -> None:
    """Add MODEL.MASK_ORDER and what its mapper reads to `cfg`."""
    cfg.MODEL.MASK_ORDER = own = CfgNode()
    own.BRANCHES = ["outlines", "image"]  # whose answers are added; either can do alone
    # Factors of the image's logits of occlusion and of depth where both branches answer.
    own.IMAGE_WEIGHTS = [1.0, 1.0]
    own.WIDTH = 48  # channels of the maps of the image
    own.VIEW_SIZES = [64, 48]  # pixels a side of the view of a pair, and of that of its contact
    own.VIEW_WIDTHS = [[24, 48, 96, 144], [16, 32, 64, 96]]  # channels of the stages of each
    own.VIEW_CHANNELS = 96  # channels of what is said of a view
    own.HIDDEN = 128  # channels of a pair and of an instance
    own.ROUNDS = 2  # how often instances gather what was seen of their pairs
    # Two instances meet where one comes within so many cells of 4 pixels of the other. Those that
    # do not meet do not occlude each other.
    own.CONTACT_RADIUS = 2
    own.PAIRS_AT_ONCE = 64  # near pairs that are looked at at once at test time; memory
    # An instance occludes another where the probability is above this.
    own.OCCLUSION_THRESHOLD = 0.5
    own.FLIP = False  # average with the answer for the mirrored image at test time
    own.OCCLUSION_LOSS_WEIGHT = 1.0
    own.DEPTH_LOSS_WEIGHT = 1.0  # of the order of depth
    own.DEPTH_LOSS_WEIGHTS = [0.7, 0.3]  # of distinct and of overlapping pairs
    own.DEPTH_MAP_LOSS_WEIGHT = 1.0  # of the depth map, where a record has one

    # What MaskOrderMapper does to training data, beside INPUT's resizing, cropping and flips.
    cfg.INPUT.MASK_ORDER = own = CfgNode()
    own.MAX_INSTANCES = 20  # of an image with more, a neighbourhood of so many is taken
    # Where nothing is known of a pair, what is set into another counts as in front of it.
    own.SET_INTO = False
    own.MASK_NOISE = 0.7  # probability that the masks of an image get an annotator's errors
    own.COLOR = 0.8  # probability of changed brightness, contrast, saturation and hue
    own.GREY = 0.1  # probability of a grey image
    own.BLUR = 0.2  # probability of a blur or a reduction of resolution
