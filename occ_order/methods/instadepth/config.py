"""Config keys of InstaDepthNet and disparity networks (CVPR 2022, Section 4 and Figure A3).

See MODEL.PAIRWISE.SAMPLER for the pairs of an image that are used in training.
"""

from __future__ import annotations

from detectron2.config import CfgNode


def add_disparity_config(cfg: CfgNode) -> None:
    """Add MODEL.DISPARITY, INPUT.KB_CROP and TEST.DISPARITY to `cfg`."""
    cfg.MODEL.DISPARITY = CfgNode()
    own = cfg.MODEL.DISPARITY
    # Images and masks are resized to this height and width, multiples of 32, without keeping the
    # aspect ratio. [], at test time only: the size of the image, rounded to multiples of 32.
    own.INPUT_SIZE = [384, 384]
    own.FEATURES = 256  # channels of the decoder
    own.OUTPUT_CHANNELS = [128, 32]  # channels of the two convolutions before the last
    # Output activation: "relu" as in MiDaS, "softplus" for training from scratch, or "none".
    own.ACTIVATION = "relu"
    # Order heads: [] (disparity only), ["depth"] (InstaDepthNet^d) or
    # ["depth", "occlusion"] (InstaDepthNet^{o,d}).
    own.HEADS = ["depth", "occlusion"]
    # Depth of the heads' ResNet; its stages must have the encoder's channels. 0 = as the encoder.
    own.HEAD_DEPTH = 0
    own.HEAD_INIT = "default"  # or "xavier": initialisation of the published code (gain 0.02)
    own.PAIRS_AT_ONCE = 32  # batch size of ordered pairs in the heads at test time
    _add_losses(own)
    # KITTI: crop image and ground truth to the benchmark crop (352 x 1216).
    cfg.INPUT.KB_CROP = False
    cfg.TEST.DISPARITY = CfgNode()
    # Write each evaluated disparity map as a 16-bit and a colour PNG file.
    cfg.TEST.DISPARITY.SAVE = False
    # Mean and median of a map over an instance: "instaorder" clips outliers as the published code,
    # while the paper ignores them (occ_order.order.disparity_order).
    cfg.TEST.DISPARITY.COMPAT = ""
    # Larger ground-truth depths are ignored (metres; 80 for KITTI).
    cfg.TEST.DISPARITY.MAX_DEPTH = 80.0


def _add_losses(own: CfgNode) -> None:
    own.LOSS = CfgNode()
    # Weights lambda_0 to lambda_3: {0, 1, 1, 0.1} for ^d and {1, 1, 1, 0.1} for ^{o,d}.
    own.LOSS.OCCLUSION = 1.0
    own.LOSS.DEPTH = 1.0
    own.LOSS.DISPARITY = 1.0
    own.LOSS.SMOOTHNESS = 0.1
    # Depth loss. False: mean over all pairs (Section 4.1). True, the published code: weighted sum
    # of the means over pairs with distinct and with overlapping depth ranges; weights follow.
    own.LOSS.BY_OVERLAP = False
    own.LOSS.DISTINCT = 0.9
    own.LOSS.OVERLAP = 0.1
    # L_s: "paper" (Section 4.2) or "published", which normalises the scale of the map
    # (occ_order.methods.instadepth.losses.smoothness_loss).
    own.LOSS.SMOOTHNESS_FORM = "paper"
    # Differentiable surrogate of Equation 1 (occ_order.methods.instadepth.losses:
    # instance_disparity_loss); margin and temperature are fractions of the map's mean disparity.
    own.LOSS.MARGIN = 0.2
    own.LOSS.TEMPERATURE = 0.5
    # Compute the disparity loss over all pairs of an image, at low cost, instead of the sampled
    # pairs of the heads.
    own.LOSS.ALL_PAIRS = False
    own.LOSS.ERODE = True  # ignore the outermost pixels of each mask
    # Compat: the published code applies the softmax twice in the depth loss.
    own.LOSS.DOUBLE_SOFTMAX = False
