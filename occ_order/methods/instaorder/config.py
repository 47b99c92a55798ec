"""Settings of networks that order given masks: MODEL.PAIRWISE, MODEL.PCNET_M, MODEL.ORDER_BASELINE.

Sections and symbols are those of Lee & Park (CVPR 2022); PCNet-M is from Zhan et al. (CVPR 2020).
"""

from __future__ import annotations

from detectron2.config import CfgNode


def add_pairwise_config(cfg: CfgNode) -> None:
    """Add the settings of this subject to `cfg`."""
    _add_network(cfg)
    _add_sampler(cfg)
    _add_pcnet_m(cfg)
    _add_baseline(cfg)


def _add_network(cfg: CfgNode) -> None:
    cfg.MODEL.PAIRWISE = own = CfgNode()
    # What the network answers: "occlusion" (o), "depth" (d), both (o,d), or "relation" (OrderNet).
    own.TASKS = ["occlusion", "depth"]
    own.NUM_RELATIONS = 3  # classes of "relation": 3, or 4 with "each other" (OrderNet ext.)
    # What the network sees: out of "masks" (M), "maps" (a field of the instances) and "image" (I).
    own.INPUTS = ["masks", "image"]
    own.MAP_FIELD = "sem_dist_maps"  # field of the instances, (N, H, W), that "maps" takes
    # "crop": a square around the pair ("patch"); "resize": the whole image, stretched.
    own.MODE = "crop"
    own.INPUT_SIZE = 256  # side of the network's input; 384 with "resize"
    # How a category is told (C): "none", "raw" (value of the mask = the data set's category id, as
    # published) or "embedding" (a learned vector of EMBEDDING_DIM more channels in the mask).
    own.CATEGORY_ENCODING = "none"
    own.NUM_CLASSES = 80
    own.CATEGORY_IDS = []  # the data set's id of every class; empty: 1, 2, 3 ...
    own.EMBEDDING_DIM = 4
    # "xavier": supplement A4.1 (gain 0.02 in the published code). "default": PyTorch's; also where
    # MODEL.WEIGHTS are those of ImageNet, as Section 4.1 has it.
    own.INIT = "default"
    # False: pairs that occlude each other are not trained on (InstaOrder, Table A1). The scores
    # without them are "occlusion_unidirectional" and "occlusion_per_image_unidirectional".
    own.BIDIRECTIONAL = True
    own.OCCLUSION_THRESHOLD = 0.5  # i occludes j where the averaged probability is above
    own.TEST_PAIRS = "all"  # or "bordering", "overlapping" (occ_order.order.pairs)
    own.PAIRS_PER_BATCH = 32  # pairs that go through the network at once at test time; memory
    # Whether training asks every pair in both directions, as published, or as it was drawn (half
    # the time for a pair; half of the pairs are drawn turned round).
    own.TRAIN_BOTH_DIRECTIONS = True
    # Of distinct and of overlapping pairs in the depth loss: those of the published code. []: all
    # pairs alike, as Section 4.1 says, which knows no weights.
    own.DEPTH_LOSS_WEIGHTS = [0.9, 0.1]
    # What the published code does and we do not; for its checkpoints.
    own.COMPAT = CfgNode()
    own.COMPAT.DOUBLE_EXPANSION = False  # test crops around boxes that were expanded before
    own.COMPAT.DOUBLE_SOFTMAX = False  # softmax before the cross-entropy of depth and relation
    own.COMPAT.CUBIC_RESIZE = False  # test images stretched by cubic, training ones by linear


def _add_sampler(cfg: CfgNode) -> None:
    # Pairs of one image in training (occ_order.methods.common.pair_samplers): "occlusion" (a share
    # POSITIVE_RATIO occludes), "depth" (any pair with a depth), "all" (every annotated pair).
    cfg.MODEL.PAIRWISE.SAMPLER = own = CfgNode()
    own.NAME = "occlusion"
    own.PAIRS_PER_IMAGE = 1  # not for "all"
    own.POSITIVE_RATIO = 0.7
    # Random crop in training, "crop" only: largest shift in sides, and range of the scale.
    own.SHIFT = 0.2
    own.SCALE = [0.8, 1.2]


def _add_pcnet_m(cfg: CfgNode) -> None:
    cfg.MODEL.PCNET_M = own = CfgNode()
    own.WIDTH = 32  # channels of the first block of the UNet
    own.INPUT_SIZE = 256
    own.EXPANSION = 3.0  # area of the crop in areas of the instance's box
    own.ERASED_WEIGHT = 5.0  # weight of a pixel inside the eraser in the loss
    own.CASE_1_RATIO = 0.8  # share of samples that erase the target; others erase around it
    own.INSTANCES_PER_IMAGE = 1  # targets of one image in training
    own.SHIFT = 0.2  # random crop in training: largest shift in sides, and range of the scale
    own.SCALE = [0.8, 1.2]
    own.ORDER_THRESHOLD = 0.1  # probability from which a pixel belongs to the instance, for order
    own.AMODAL_THRESHOLD = 0.2  # and for the completed mask
    # Pixels that an eraser reaches beyond its mask, for masks with gaps between the objects.
    own.GAP = 0
    own.PAIRS = "all"  # or "bordering"
    own.COMPLETE = True  # whether to give the completed masks, too
    # Compat: the mask has the value of the category id (networks published for KINS).
    own.CATEGORY_VALUES = False
    own.CROPS_PER_BATCH = 32  # crops that go through the network at once at test time


def _add_baseline(cfg: CfgNode) -> None:
    # Orders without training (occ_order.order.baselines).
    cfg.MODEL.ORDER_BASELINE = own = CfgNode()
    # "area", "y_axis", "bottom_edge", "disparity_mean" or "disparity_median".
    own.NAME = "area"
    own.OCCLUSION_PAIRS = "bordering"
    own.DEPTH_PAIRS = "all"
    own.GAP = 0  # most pixels between masks that border (annotated masks may leave a few free)
    own.COMPAT = ""  # "instaorder" or "deocclusion_cocoa": the published rules, see the functions
    # META_ARCH that gives "disparity" for a disparity baseline; "" takes "disparity" of the input.
    own.DISPARITY_ARCHITECTURE = ""
