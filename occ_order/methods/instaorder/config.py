"""Config keys of MODEL.PAIRWISE, MODEL.PCNET_M and MODEL.ORDER_BASELINE.

Sections and symbols are those of Lee & Park (CVPR 2022); PCNet-M is from Zhan et al. (CVPR 2020).
"""

from __future__ import annotations

from detectron2.config import CfgNode


def add_pairwise_config(cfg: CfgNode) -> None:
    """Add the keys of pairwise networks and baselines to `cfg`."""
    _add_network(cfg)
    _add_sampler(cfg)
    _add_pcnet_m(cfg)
    _add_baseline(cfg)


def _add_network(cfg: CfgNode) -> None:
    cfg.MODEL.PAIRWISE = own = CfgNode()
    # Tasks: "occlusion" (o), "depth" (d), both (o,d), or "relation" (OrderNet).
    own.TASKS = ["occlusion", "depth"]
    own.NUM_RELATIONS = 3  # classes of "relation": 3, or 4 with "each other" (OrderNet ext.)
    # Input planes: some of "masks" (M), "maps" (a field of the instances) and "image" (I).
    own.INPUTS = ["masks", "image"]
    own.MAP_FIELD = "sem_dist_maps"  # field of the instances, (N, H, W), used by "maps"
    # "crop": a square patch around the pair; "resize": the whole image, resized to a square.
    own.MODE = "crop"
    own.INPUT_SIZE = 256  # side of the input; 384 with "resize"
    # Encoding of the category (C): "none", "raw" (mask value = category id of the data set, as
    # published) or "embedding" (a learned vector in EMBEDDING_DIM additional channels).
    own.CATEGORY_ENCODING = "none"
    own.NUM_CLASSES = 80
    own.CATEGORY_IDS = []  # category id of each class in the data set; [] = 1, 2, 3 ...
    own.EMBEDDING_DIM = 4
    # Initialisation: "xavier": supplement A4.1 (gain 0.02 in the published code). "default":
    # PyTorch's; also for MODEL.WEIGHTS trained on ImageNet, as in Section 4.1.
    own.INIT = "default"
    # False: mutual occlusions are not used in training (InstaOrder, Table A1). The scores without
    # them are "occlusion_unidirectional" and "occlusion_per_image_unidirectional".
    own.BIDIRECTIONAL = True
    own.OCCLUSION_THRESHOLD = 0.5  # i occludes j if the averaged probability exceeds this
    own.TEST_PAIRS = "all"  # or "bordering", "overlapping" (occ_order.order.pairs)
    own.PAIRS_PER_BATCH = 32  # batch size of pairs at test time
    # True: training uses both directions of each pair, as published. False: one random direction,
    # which halves the time per pair.
    own.TRAIN_BOTH_DIRECTIONS = True
    # Weights of distinct and overlapping pairs in the depth loss, from the published code. []: mean
    # over all pairs as in Section 4.1, which has no weights.
    own.DEPTH_LOSS_WEIGHTS = [0.9, 0.1]
    # Deviations of the published code from the paper, for its checkpoints.
    own.COMPAT = CfgNode()
    own.COMPAT.DOUBLE_EXPANSION = False  # expand the boxes twice for test crops
    own.COMPAT.DOUBLE_SOFTMAX = False  # softmax before the cross-entropy of depth and relation
    own.COMPAT.CUBIC_RESIZE = False  # bicubic at test time, bilinear in training


def _add_sampler(cfg: CfgNode) -> None:
    # Training pairs of an image (occ_order.methods.common.pair_samplers): "occlusion" (occlusions
    # with probability POSITIVE_RATIO), "depth" (pairs with depth order), "all" (annotated pairs).
    cfg.MODEL.PAIRWISE.SAMPLER = own = CfgNode()
    own.NAME = "occlusion"
    own.PAIRS_PER_IMAGE = 1  # ignored by "all"
    own.POSITIVE_RATIO = 0.7
    # Random crop in training, "crop" only: maximum shift in sides of the crop, range of the scale.
    own.SHIFT = 0.2
    own.SCALE = [0.8, 1.2]


def _add_pcnet_m(cfg: CfgNode) -> None:
    cfg.MODEL.PCNET_M = own = CfgNode()
    own.WIDTH = 32  # channels of the first block of the UNet
    own.INPUT_SIZE = 256
    own.EXPANSION = 3.0  # ratio of the areas of the crop and of the instance's box
    own.ERASED_WEIGHT = 5.0  # loss weight of pixels inside the eraser
    own.CASE_1_RATIO = 0.8  # fraction of samples of case 1 (the target is erased); else case 2
    own.INSTANCES_PER_IMAGE = 1  # targets per training image
    own.SHIFT = 0.2  # random crop in training: maximum shift in sides, range of the scale
    own.SCALE = [0.8, 1.2]
    own.ORDER_THRESHOLD = 0.1  # probability threshold of the completed mask, for the order
    own.AMODAL_THRESHOLD = 0.2  # probability threshold of the amodal mask
    # Dilation of the eraser in pixels, for data with gaps between adjacent masks.
    own.GAP = 0
    own.PAIRS = "all"  # or "bordering"
    own.COMPLETE = True  # also predict amodal masks
    # Compat: mask value = category id (published KINS networks).
    own.CATEGORY_VALUES = False
    own.CROPS_PER_BATCH = 32  # batch size of crops at test time


def _add_baseline(cfg: CfgNode) -> None:
    # Heuristic baselines (occ_order.order.baselines).
    cfg.MODEL.ORDER_BASELINE = own = CfgNode()
    # "area", "y_axis", "bottom_edge", "disparity_mean" or "disparity_median".
    own.NAME = "area"
    own.OCCLUSION_PAIRS = "bordering"
    own.DEPTH_PAIRS = "all"
    own.GAP = 0  # maximum gap in pixels between bordering masks
    own.COMPAT = ""  # "instaorder" or "deocclusion_cocoa": published variants, see the functions
    # META_ARCHITECTURE of the network for a disparity baseline; "" = "disparity" of the input.
    own.DISPARITY_ARCHITECTURE = ""
