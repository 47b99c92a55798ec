"""Settings of OOSIS: network, losses, CRF, and the detectors it is compared with.

Sections, equations and tables are those of "Occlusion-Ordered Semantic Instance Segmentation".
"""

from __future__ import annotations

from detectron2.config import CfgNode


def add_oosis_config(cfg: CfgNode) -> None:
    """Add the settings of this subject to `cfg`."""
    cfg.MODEL.OOSIS = CfgNode()
    _add_network(cfg.MODEL.OOSIS)
    _add_losses(cfg.MODEL.OOSIS)
    _add_inference(cfg.MODEL.OOSIS)
    _add_input(cfg)
    _add_detector_order(cfg)
    _add_evaluation(cfg)


def _add_network(own: CfgNode) -> None:
    own.NUM_CLASSES = 1  # without background; 1 = every instance is of the one class
    own.IN_FEATURE = "res5"
    own.AUX_FEATURE = "res4"
    # Finer features that are added before the logits, from coarse to fine; none in the paper. Small
    # images need them: stride 8 does not tell their boundaries apart.
    own.SKIP_FEATURES = []
    own.BINS = [1, 2, 3, 6]  # of the pyramid pooling
    own.PPM_CHANNELS = 512
    own.CHANNELS = 512  # of the bottleneck
    own.AUX_CHANNELS = 256
    own.DROPOUT = 0.1
    own.NORM = "BN"
    # Upsampling of e and b: "joint", a 3-D deconvolution over [e, b] (supplement 1.1), or
    # "separate", a 2-D one with a kernel of its own for each of the five maps (Table 5).
    own.UPSAMPLING = "joint"
    # Depth of the joint kernel: with 9 all five see all five, with 1 they share one 2-D kernel.
    own.JOINT_DEPTH_KERNEL = 9
    # Whether each cell of the feature map adds a correction of its own to each of its pixels; not
    # in the paper. In small images a boundary must be right to the pixel.
    own.SUBPIXEL = False


def _add_losses(own: CfgNode) -> None:
    own.LOSS_WEIGHTS = [1.0, 1.0, 1.0]  # semantic, boundary, orientation terms of Eq. 4
    own.BOUNDARY_LOSS = "weighted_ce"  # or dice_pp, tversky_pp, combo (Table 3b)
    own.BOUNDARY_WEIGHT = 0.9  # w of the weighted cross-entropy
    own.FOCUS = 2.0  # gamma of dice_pp and tversky_pp (Section 5.6)
    own.TVERSKY_ALPHA = 0.3  # weight of false boundary; 0.8 in Section 5.6
    own.TVERSKY_BETA = 0.7  # weight of missed boundary; 0.2 in Section 5.6
    own.COMBO_ALPHA = 0.5  # share of the cross-entropy in the Combo loss; 0.1 in Section 5.6
    own.ORIENT_NORM = "pixels"  # the orientation term is a mean over "pixels" or "boundary"
    own.AUX_WEIGHT = 0.4
    own.AUX_TASKS = ["semantic"]  # what the auxiliary head learns; also orientation, boundary


def _add_inference(own: CfgNode) -> None:
    own.SLIDING = False  # windows of INPUT.OOSIS.CROP_SIZE instead of the whole image
    own.SLIDING_STRIDE = 150
    own.FLIP = False  # average over the mirrored image, left and right exchanged
    # "crf": jump moves; "expansion": one cycle of alpha-expansion (supplement 2); "classes": the
    # order label of every pixel is predicted as a class, without a CRF (Section 5.1).
    own.DECODER = "crf"
    own.ORDER_LABELS = 7  # largest order label of "expansion" and "classes"
    own.MAPS = "network"  # "ground_truth": the maps are made from annotation (Table 4)
    own.NMS = "axis"  # each direction thinned along its own axis; "edge": the boundary as a whole
    own.NMS_RADIUS = 1  # "axis": a pixel must be the largest within so many along the axis
    own.THRESHOLD = 0.1  # on o = b e, after thinning
    own.LAMBDA = 20.0  # smoothness, Eq. 8
    # How often Eq. 8 counts a pair of neighbours. The paper says that N is "the set of pairs on an
    # 4-connected grid" and not whether (p, q) and (q, p) are one or two; 2 is an inference, which
    # rests on Table 6: counted once, lambda = 50 would be below mu = 100 and could not empty the
    # result.
    own.SMOOTH_COUNT = 2
    own.MU = 100.0  # gain of an activated occlusion pair, Eq. 8
    # "constant": the paper's jump moves (Section 3.3). "alternate": the project's, which also fuses
    # and moves whole regions (occ_order.crf.solve).
    own.BOUND = "alternate"
    own.MAX_JUMPS = 64
    # Smaller components are dropped, pixels of the network's resolution; 0 in the paper: "a
    # connected component of pixels with the same label forms an instance" (Section 3.2).
    own.MIN_AREA = 20
    # Threads that run the CRF of one image while the network sees the next; 0 = one after the
    # other.
    own.WORKERS = 1


def _add_input(cfg: CfgNode) -> None:
    # OOSISMapper: the recipe of PSPNet, which supplement 4 names, in this order.
    cfg.INPUT.OOSIS = CfgNode()
    # Height and width to which images are resized first, or the shorter side alone, which keeps
    # their shape; [] = as they are.
    cfg.INPUT.OOSIS.SIZE = []
    cfg.INPUT.OOSIS.SCALE = [0.5, 2.0]
    cfg.INPUT.OOSIS.ROTATION = 10.0  # degrees at most, in half of the images
    cfg.INPUT.OOSIS.BLUR = 0.5  # probability of a 5 x 5 Gaussian blur
    cfg.INPUT.OOSIS.FLIP = 0.5
    cfg.INPUT.OOSIS.CROP_SIZE = 225  # a multiple of 8, and 1; 0 = the whole image
    # COCOA: whether stuff regions are instances; False: they are background and have no order.
    cfg.INPUT.OOSIS.USE_STUFF = False
    cfg.INPUT.OOSIS.OVER_BACKGROUND = True  # every instance occludes the background
    # Boundary and orientation are not learned where instances touch whose occlusion is unknown.
    cfg.INPUT.OOSIS.IGNORE_UNKNOWN = False
    # Unlabelled pixels at most so far from a labelled region become part of it; 0 = background.
    cfg.INPUT.OOSIS.FILL_GAPS = 0


def _add_detector_order(cfg: CfgNode) -> None:
    # detector_with_order (Section 5.2): an instance segmentation, then an order between its masks.
    # Each of the two is a meta-architecture built from this very config, or has a file of its own.
    own = cfg.MODEL.DETECTOR_ORDER = CfgNode()
    own.META_ARCHITECTURE = "GeneralizedRCNN"  # the detector
    own.CONFIG = ""  # file of the detector's config, from the working directory, or zoo:NAME
    own.WEIGHTS = ""  # its checkpoint; "" = the file's MODEL.WEIGHTS
    # Detections of another program (META_ARCHITECTURE DetectionsFromFile): COCO results, a panoptic
    # segmentation, amodalAPI results or order_results.json (occ_order.formats.detections).
    own.RESULTS = ""
    own.RESULTS_FOLDER = ""  # PNG files of a panoptic segmentation; "" = RESULTS without ".json"
    own.RESULTS_SCORES = "file"  # or "same": 1 for every instance (Table 2)
    own.MASKS = "instances"  # or "panoptic": the things of `panoptic_seg`
    own.MIN_SCORE = 0.0  # detections below are dropped before they are ordered
    # Share of its pixels that a detection has to keep when duplicates are dropped and pixels that
    # several claim go to the smallest (occ_order.masks.exclusive); 0 = masks stay as they are.
    own.EXCLUSIVE = 0.0
    own.ORDER = "OrderBaseline"  # what orders given masks: here by MODEL.ORDER_BASELINE
    own.ORDER_CONFIG = ""  # file of the config of an order network, or zoo:NAME
    own.ORDER_WEIGHTS = ""  # its checkpoint; "" = the file's MODEL.WEIGHTS


def _add_evaluation(cfg: CfgNode) -> None:
    cfg.TEST.OOSIS = CfgNode()
    cfg.TEST.OOSIS.CLASS_AGNOSTIC = False  # OAIR and AP match whatever the classes
    # InstanceAP: also how well the scores are calibrated; they have to be probabilities.
    cfg.TEST.OOSIS.CALIBRATION = False
    cfg.TEST.OOSIS.GT_EDGES = "touching"  # or "all" annotated pairs
    cfg.TEST.OOSIS.DECYCLE_SEEDS = 5  # random decyclings that are averaged (Fig. 11)
    cfg.TEST.OOSIS.BOUNDARY_THRESHOLDS = 33  # of POR; 99 in the published protocol
