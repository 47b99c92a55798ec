"""Settings of InstaDepthNet and of its disparity map (CVPR 2022, Section 4 and Figure A3).

Which pairs of an image are learned from: MODEL.PAIRWISE.SAMPLER.
"""

from __future__ import annotations

from detectron2.config import CfgNode


def add_disparity_config(cfg: CfgNode) -> None:
    """Add MODEL.DISPARITY, INPUT.KB_CROP and TEST.DISPARITY to `cfg`."""
    cfg.MODEL.DISPARITY = CfgNode()
    own = cfg.MODEL.DISPARITY
    # Images and masks are stretched to this height and width, multiples of 32. An empty list, at
    # test time only, keeps the size of the image, rounded to multiples of 32.
    own.INPUT_SIZE = [384, 384]
    own.FEATURES = 256  # channels of the decoder
    own.OUTPUT_CHANNELS = [128, 32]  # channels of the two convolutions before the last
    # Last activation: "relu" as in MiDaS, "softplus" for training from scratch, or "none".
    own.ACTIVATION = "relu"
    # Order heads: [] (a plain disparity network), ["depth"] (InstaDepthNet^d) or
    # ["depth", "occlusion"] (InstaDepthNet^{o,d}).
    own.HEADS = ["depth", "occlusion"]
    # Depth of the heads' ResNet; its stages must have the encoder's channels. 0: as the encoder.
    own.HEAD_DEPTH = 0
    own.HEAD_INIT = "default"  # or "xavier": the published start (gain 0.02)
    own.PAIRS_AT_ONCE = 32  # ordered pairs that pass through the heads together at test time
    _add_losses(own)
    # KITTI: the network sees, and is measured on, the benchmark crop (352 x 1216) alone.
    cfg.INPUT.KB_CROP = False
    cfg.TEST.DISPARITY = CfgNode()
    # Whether the evaluators write each disparity map, as 16-bit and as colour PNG.
    cfg.TEST.DISPARITY.SAVE = False
    # "instaorder": mean and median of a map over an instance as in the published code, which clips
    # where the paper ignores (occ_order.order.disparity_order).
    cfg.TEST.DISPARITY.COMPAT = ""
    # Depths beyond this are no ground truth (metres; 80 for KITTI).
    cfg.TEST.DISPARITY.MAX_DEPTH = 80.0


def _add_losses(own: CfgNode) -> None:
    own.LOSS = CfgNode()
    # lambda_0 to lambda_3: {0, 1, 1, 0.1} for ^d and {1, 1, 1, 0.1} for ^{o,d}.
    own.LOSS.OCCLUSION = 1.0
    own.LOSS.DEPTH = 1.0
    own.LOSS.DISPARITY = 1.0
    own.LOSS.SMOOTHNESS = 0.1
    # Inside the depth loss. False: all pairs alike (Section 4.1). True, the published code: pairs
    # of distinct and of overlapping depth ranges are averaged apart and weighed by the next two.
    own.LOSS.BY_OVERLAP = False
    own.LOSS.DISTINCT = 0.9
    own.LOSS.OVERLAP = 0.1
    # L_s: "paper" (Section 4.2) or "published", which takes the scale out of the map
    # (occ_order.methods.instadepth.losses.smoothness_loss).
    own.LOSS.SMOOTHNESS_FORM = "paper"
    # The trained stand-in of Equation 1 (occ_order.methods.instadepth.losses:
    # instance_disparity_loss); both numbers are shares of the map's mean disparity.
    own.LOSS.MARGIN = 0.2
    own.LOSS.TEMPERATURE = 0.5
    # The disparity loss over every pair of an image, which costs little, instead of over the drawn
    # pairs that pass through the heads.
    own.LOSS.ALL_PAIRS = False
    own.LOSS.ERODE = True  # leave the outermost pixels of each mask out
    # Compat: the published code takes the softmax twice in the depth loss.
    own.LOSS.DOUBLE_SOFTMAX = False
