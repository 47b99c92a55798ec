"""Config keys of MaskOrderNet, which predicts the order of input masks."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_mask_order_config(cfg: CfgNode) -> None:
    """Add MODEL.MASK_ORDER and INPUT.MASK_ORDER to `cfg`."""
    cfg.MODEL.MASK_ORDER = own = CfgNode()
    own.BRANCHES = ["outlines", "image"]  # branches whose logits are added; one or both
    # Factors of the image branch's logits of occlusion and of depth, if there are both branches.
    own.IMAGE_WEIGHTS = [1.0, 1.0]
    own.WIDTH = 48  # channels of the feature maps of the image
    own.VIEW_SIZES = [64, 48]  # side in pixels of the view of a pair and of its contact
    own.VIEW_WIDTHS = [[24, 48, 96, 144], [16, 32, 64, 96]]  # channels of the stages for each view
    own.VIEW_CHANNELS = 96  # channels of the feature vector of a view
    own.HIDDEN = 128  # channels of the state of a pair and of an instance
    own.ROUNDS = 2  # rounds of message passing
    # Contact radius in cells of 4 pixels. Instances farther apart do not occlude each other.
    own.CONTACT_RADIUS = 2
    own.PAIRS_AT_ONCE = 64  # near pairs per forward pass at test time, limits memory
    # Occlusion probability above which an instance occludes another.
    own.OCCLUSION_THRESHOLD = 0.5
    own.FLIP = False  # test-time augmentation: average with the mirrored image
    own.OCCLUSION_LOSS_WEIGHT = 1.0
    own.DEPTH_LOSS_WEIGHT = 1.0  # loss of the depth order
    own.DEPTH_LOSS_WEIGHTS = [0.7, 0.3]  # weights of distinct and of overlapping pairs in it
    own.DEPTH_MAP_LOSS_WEIGHT = 1.0  # loss of the depth map, for images that have one

    # Training data augmentation of MaskOrderMapper, in addition to resizing, cropping and flips.
    cfg.INPUT.MASK_ORDER = own = CfgNode()
    own.MAX_INSTANCES = 20  # of more instances, a neighbourhood of this size is sampled
    # Whether to fill in unknown occlusions by `occ_order.order.set_into`.
    own.SET_INTO = False
    own.MASK_NOISE = 0.7  # probability of simulated annotation errors of the masks of an image
    own.COLOR = 0.8  # probability of changed brightness, contrast, saturation and hue
    own.GREY = 0.1  # probability of conversion to grey
    own.BLUR = 0.2  # probability of blur or reduced resolution
