"""Config keys of MaskCompletionNet, the amodal completion of input masks."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_completion_config(cfg: CfgNode) -> None:
    """Add MODEL.COMPLETION and INPUT.COMPLETION to `cfg`."""
    cfg.MODEL.COMPLETION = own = CfgNode()
    own.VIEW_SIZE = 64  # side of the view of an instance in cells
    own.WIDTHS = [24, 48, 96, 128, 160]  # channels of the levels of the U-Net
    own.REACH = 3.0  # maximum side of a view, relative to the longer side of the modal mask's box
    own.MARGIN = 1.1  # side of the view, relative to the longer side of its contents
    # For META_ARCHITECTURE completion_with_order and layering_with_order: model of the zoo that
    # predicts the order.
    own.ORDER = "mask_order_photos"
    # Minimum occlusion probability of an occluder; masks are completed behind occluders only.
    own.OCCLUDER_THRESHOLD = 0.5
    # Probability above which an occluded pixel belongs to the instance. For an expected IoU of q,
    # the threshold q / (1 + q) maximises the IoU.
    own.THRESHOLD = 0.4
    own.OVERLAP_LOSS_WEIGHT = 0.5  # weight of the soft IoU loss; that of the cross-entropy is 1

    # Training samples of MaskCompletionMapper.
    cfg.INPUT.COMPLETION = own = CfgNode()
    own.STRIDE = 2  # masks are subsampled by this factor, to save time
    own.TARGETS = 4  # maximum number of training instances per image
    # Probability of a sample with an occluder pasted in front of any instance, instead of an
    # instance that is occluded in the image and has an amodal annotation.
    own.PASTE = 0.5
    own.OCCLUDERS = []  # data sets to sample the shapes of pasted occluders from; [] = the image
    own.BESIDE = 0.15  # fraction of pasted instances that are behind, without any occlusion
    own.MASK_NOISE = 0.7  # probability of simulated annotation errors of the masks of an image
    # Probability that occlusion probabilities are sampled like those of an order network, with its
    # uncertainty and errors.
    own.ORDER_NOISE = 0.6
    own.SHIFT = 0.1  # maximum shift of a view relative to its side
    own.SCALE = 1.25  # maximum scale factor of a view
