"""Config keys of OOSIS: network, losses, CRF, and the detectors that the paper compares with.

Sections, equations and tables are those of "Occlusion-Ordered Semantic Instance Segmentation".
"""

from __future__ import annotations

from detectron2.config import CfgNode


def add_oosis_config(cfg: CfgNode) -> None:
    """Add the keys of OOSIS to `cfg`."""
    cfg.MODEL.OOSIS = CfgNode()
    _add_network(cfg.MODEL.OOSIS)
    _add_losses(cfg.MODEL.OOSIS)
    _add_inference(cfg.MODEL.OOSIS)
    _add_input(cfg)
    _add_detector_order(cfg)
    _add_evaluation(cfg)


def _add_network(own: CfgNode) -> None:
    own.NUM_CLASSES = 1  # without background; 1 = class-agnostic: all instances are of one class
    own.IN_FEATURE = "res5"
    own.AUX_FEATURE = "res4"
    # Higher-resolution features that are added before the logits, from coarse to fine; none in the
    # paper. Small images need them: at stride 8, nearby boundaries fall into the same cell.
    own.SKIP_FEATURES = []
    own.BINS = [1, 2, 3, 6]  # of the pyramid pooling
    own.PPM_CHANNELS = 512
    own.CHANNELS = 512  # of the bottleneck
    own.AUX_CHANNELS = 256
    own.DROPOUT = 0.1
    own.NORM = "BN"
    # Upsampling of e and b: "joint", a 3-D deconvolution over [e, b] (supplement 1.1), or
    # "separate", a 2-D deconvolution for each of the five maps (Table 5).
    own.UPSAMPLING = "joint"
    # Depth of the joint kernel: with 9 every output map depends on all five input maps, with 1 all
    # maps share one 2-D kernel.
    own.JOINT_DEPTH_KERNEL = 9
    # True: each cell of the feature map predicts a residual for each of its pixels; not in the
    # paper. Small images need boundaries with single-pixel accuracy.
    own.SUBPIXEL = False


def _add_losses(own: CfgNode) -> None:
    own.LOSS_WEIGHTS = [1.0, 1.0, 1.0]  # semantic, boundary, orientation terms of Eq. 4
    own.BOUNDARY_LOSS = "weighted_ce"  # or dice_pp, tversky_pp, combo (Table 3b)
    own.BOUNDARY_WEIGHT = 0.9  # w of the weighted cross-entropy
    own.FOCUS = 2.0  # gamma of dice_pp and tversky_pp (Section 5.6)
    own.TVERSKY_ALPHA = 0.3  # weight of false positives; 0.8 in Section 5.6
    own.TVERSKY_BETA = 0.7  # weight of false negatives; 0.2 in Section 5.6
    own.COMBO_ALPHA = 0.5  # weight of the cross-entropy in the Combo loss; 0.1 in Section 5.6
    own.ORIENT_NORM = "pixels"  # average the orientation term over "pixels" or "boundary" pixels
    own.AUX_WEIGHT = 0.4
    own.AUX_TASKS = ["semantic"]  # tasks of the auxiliary head; also orientation, boundary


def _add_inference(own: CfgNode) -> None:
    own.SLIDING = False  # True: sliding windows of INPUT.OOSIS.CROP_SIZE instead of the whole image
    own.SLIDING_STRIDE = 150
    own.FLIP = False  # test-time augmentation: average with the horizontally flipped image
    # "crf": jump moves; "expansion": one cycle of alpha-expansion (supplement 2); "classes": the
    # network classifies the order label of each pixel, without a CRF (Section 5.1).
    own.DECODER = "crf"
    own.ORDER_LABELS = 7  # maximum order label of "expansion" and "classes"
    own.MAPS = "network"  # "ground_truth": compute the maps from the annotation (Table 4)
    own.NMS = "axis"  # suppression along the "axis" of each direction, or across the "edge"
    own.NMS_RADIUS = 1  # window of "axis": a pixel must be the maximum within this many pixels
    own.THRESHOLD = 0.1  # of o = b e, after non-maximum suppression
    own.LAMBDA = 20.0  # weight of the smoothness term, Eq. 8
    # How often Eq. 8 counts a pair of neighbours. The paper calls N "the set of pairs on an
    # 4-connected grid" without saying whether it contains both (p, q) and (q, p). The factor 2 is
    # inferred from Table 6: with a factor of 1, lambda = 50 would be below mu = 100, and the result
    # could not be empty.
    own.SMOOTH_COUNT = 2
    own.MU = 100.0  # weight of the occlusion term, Eq. 8
    # "constant": the paper's jump moves (Section 3.3). "alternate": an extension that also fuses
    # labellings and moves whole regions (occ_order.crf.solve).
    own.BOUND = "alternate"
    own.MAX_JUMPS = 64
    # Minimum size of a component, in pixels at the network's resolution; 0 in the paper: "a
    # connected component of pixels with the same label forms an instance" (Section 3.2).
    own.MIN_AREA = 20
    # Threads that run the CRF of one image during the network's forward pass of the next; 0 = run
    # both sequentially.
    own.WORKERS = 1


def _add_input(cfg: CfgNode) -> None:
    # Augmentation of OOSISMapper in this order: PSPNet's, to which supplement 4 refers.
    cfg.INPUT.OOSIS = CfgNode()
    # Initial resize to (height, width), or to a shorter side with the aspect ratio kept; [] = off.
    cfg.INPUT.OOSIS.SIZE = []
    cfg.INPUT.OOSIS.SCALE = [0.5, 2.0]
    cfg.INPUT.OOSIS.ROTATION = 10.0  # maximum angle in degrees; applied to half of the images
    cfg.INPUT.OOSIS.BLUR = 0.5  # probability of a 5 x 5 Gaussian blur
    cfg.INPUT.OOSIS.FLIP = 0.5
    cfg.INPUT.OOSIS.CROP_SIZE = 225  # 8 k + 1; 0 = the whole image
    # COCOA: True treats stuff regions as instances; False as background without order.
    cfg.INPUT.OOSIS.USE_STUFF = False
    cfg.INPUT.OOSIS.OVER_BACKGROUND = True  # instances occlude the background
    # True: no boundary and orientation loss at contacts of instances with unknown occlusion.
    cfg.INPUT.OOSIS.IGNORE_UNKNOWN = False
    # Maximum distance in pixels at which unlabelled pixels are assigned to the nearest region; 0 =
    # they are background.
    cfg.INPUT.OOSIS.FILL_GAPS = 0


def _add_detector_order(cfg: CfgNode) -> None:
    # detector_with_order (Section 5.2): instance segmentation followed by order prediction for its
    # masks. Each of the two models is built from this config or from a config file of its own.
    own = cfg.MODEL.DETECTOR_ORDER = CfgNode()
    own.META_ARCHITECTURE = "GeneralizedRCNN"  # the detector
    own.CONFIG = ""  # path of the detector's config relative to the working directory, or zoo:NAME
    own.WEIGHTS = ""  # checkpoint of the detector; "" = MODEL.WEIGHTS of its config
    # Precomputed detections for META_ARCHITECTURE DetectionsFromFile: COCO results, a panoptic
    # segmentation, amodalAPI results or order_results.json (occ_order.formats.detections).
    own.RESULTS = ""
    own.RESULTS_FOLDER = ""  # PNG files of a panoptic segmentation; "" = RESULTS without ".json"
    own.RESULTS_SCORES = "file"  # or "same": score 1 for all instances (Table 2)
    own.MASKS = "instances"  # or "panoptic": the thing segments of `panoptic_seg`
    own.MIN_SCORE = 0.0  # score threshold of detections, before the order is predicted
    # Remove duplicates, assign pixels of several detections to the smallest, and remove detections
    # that keep less than this fraction of their pixels (occ_order.masks.exclusive); 0 = off.
    own.EXCLUSIVE = 0.0
    own.ORDER = "OrderBaseline"  # model of the order; this one uses MODEL.ORDER_BASELINE
    own.ORDER_CONFIG = ""  # path of the config of an order network, or zoo:NAME
    own.ORDER_WEIGHTS = ""  # checkpoint of the order network; "" = MODEL.WEIGHTS of its config


def _add_evaluation(cfg: CfgNode) -> None:
    cfg.TEST.OOSIS = CfgNode()
    cfg.TEST.OOSIS.CLASS_AGNOSTIC = False  # True: OAIR and AP ignore the classes when matching
    # InstanceAP: True also evaluates the calibration of the scores, which must be probabilities.
    cfg.TEST.OOSIS.CALIBRATION = False
    cfg.TEST.OOSIS.GT_EDGES = "touching"  # ground-truth pairs: "touching" or "all"
    cfg.TEST.OOSIS.DECYCLE_SEEDS = 5  # number of random decyclings to average over (Fig. 11)
    cfg.TEST.OOSIS.BOUNDARY_THRESHOLDS = 33  # of POR; 99 in the published protocol
