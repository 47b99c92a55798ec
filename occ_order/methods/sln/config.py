"""Settings of `occ_order.methods.sln` (SLN, Zhang et al., ACM MM 2019) and of its evaluation."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_sln_config(cfg: CfgNode) -> None:
    """Add MODEL.SLN and TEST.AMODAL."""
    cfg.MODEL.SLN = CfgNode()
    sln = cfg.MODEL.SLN
    sln.NUM_LEVELS = 4  # K: visible, hidden behind 1, 2, and 3 or more objects
    sln.THRESHOLD = 0.5  # c: what counts as there (Eq. 2-5)
    # Omega of Eq. 5: "product" = C_A * C_B > c^2 (the paper), "min" = both above c.
    sln.OVERLAP = "product"
    # From regional to object order: "component" = sign of the largest region (the paper), "area".
    sln.VOTE = "component"
    # IoU of levels above which a prediction repeats a surer one (`level_nms`); 1 = boxes alone
    # decide (the paper). With it, MODEL.ROI_HEADS.NMS_THRESH_TEST should be loose, such as 0.8.
    sln.LEVEL_NMS = 1.0
    # Stages of the training out of glm, rpn, ilm (each freezes all other parts) and joint, and the
    # share of SOLVER.MAX_ITER of each. The paper: all four in this order.
    sln.STAGES = ["joint"]
    sln.STAGE_SHARES = [1.0]
    # Masks of regions at twice the resolution (the published code, not the paper).
    sln.UPSAMPLE = True
    sln.VISIBLE_BRANCH = False  # AmodalMaskHead: a second branch for visible masks
    _add_encoder(sln)
    _add_modules(sln)
    _add_test(cfg)


def _add_encoder(sln: CfgNode) -> None:
    # build_concatenated_stages_backbone: the stages of a backbone side by side (ENC).
    sln.ENCODER = CfgNode()
    sln.ENCODER.BOTTOM_UP = "build_resnet_backbone"
    sln.ENCODER.CHANNELS = 256  # that each stage is reduced to
    sln.ENCODER.STRIDE = 4  # of the result
    sln.ENCODER.NORM = ""
    # Compute the insides of the ResNet and of the GLM again for their gradients; saves memory.
    sln.ENCODER.RECOMPUTE = False


def _add_modules(sln: CfgNode) -> None:
    sln.GLOBAL_LAYERING = CfgNode()  # GLM
    sln.GLOBAL_LAYERING.ENABLED = True
    sln.GLOBAL_LAYERING.IN_FEATURES = ["p2", "p3", "p4", "p5"]
    sln.GLOBAL_LAYERING.CONV_DIM = 256
    sln.GLOBAL_LAYERING.NORM = "BN"
    sln.GLOBAL_LAYERING.LOSS_WEIGHT = 1.0  # lambda_G of Eq. 6
    # ILM; its convolutions are those of MODEL.ROI_MASK_HEAD.
    sln.INSTANCE_LAYERING = CfgNode()
    sln.INSTANCE_LAYERING.CONTEXT = True  # the region's mean feature everywhere (not in the paper)
    sln.INSTANCE_LAYERING.LOSS = "bce"  # of each channel of the softmax (the paper), or "ce"
    sln.INSTANCE_LAYERING.LOSS_WEIGHT = 1.0  # lambda_I of Eq. 6
    sln.REFINEMENT = CfgNode()
    sln.REFINEMENT.ENABLED = True
    # What the block corrects: "masks" = the nested masks of all levels, "map" = one level-set value
    # for each pixel, cut at c - l (the literal reading).
    sln.REFINEMENT.OF = "masks"
    sln.REFINEMENT.CONV_DIM = 256
    sln.REFINEMENT.SHARPNESS = 8.0  # of "map": slope of the thresholds, per unit of level
    sln.REFINEMENT.LOSS_WEIGHT = 1.0  # lambda_M of Eq. 6


def _add_test(cfg: CfgNode) -> None:
    cfg.TEST.AMODAL = CfgNode()  # of AmodalEvaluator
    # Which scores: "regions" (class-agnostic AP and AR by occlusion), "things_stuff", "classes"
    # (AP averaged over classes), "modal", "invisible", "order". An empty list takes those that
    # belong to the format of the data set.
    cfg.TEST.AMODAL.SCORES = []
    cfg.TEST.AMODAL.MAX_DETECTIONS = [1, 10, 100]  # an image; AP uses the last
    # An object whose best prediction overlaps less has none when orders are counted.
    cfg.TEST.AMODAL.ORDER_MIN_IOU = 0.0
    # Leave out what the published evaluation leaves out (the image with the largest id, images
    # without predictions).
    cfg.TEST.AMODAL.SLN_COMPATIBLE = False
    # Write the sem-dist map of each image: "" (no), "npz" or "png".
    cfg.TEST.AMODAL.EXPORT_SEM_DIST = ""
    # Networks that order the found objects as well (Table 2): [name, config, weights] each. They
    # see amodal masks, and sem-dist maps if the network predicts levels; scores order_NAME.
    cfg.TEST.AMODAL.ORDER_NETS = []
