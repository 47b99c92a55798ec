"""Settings of MaskCompletionNet, the network that completes given masks."""

from __future__ import annotations

from detectron2.config import CfgNode


def add_completion_config(cfg: CfgNode) -> None:
    """Add MODEL.COMPLETION and what its mapper reads to `cfg`."""
    cfg.MODEL.COMPLETION = own = CfgNode()
    own.VIEW_SIZE = 64  # cells a side of the view of an instance
    own.WIDTHS = [24, 48, 96, 128, 160]  # channels of the levels of the U-Net
    own.REACH = 3.0  # side of what is looked at, in longer sides of the modal mask's box
    own.MARGIN = 1.1  # side of the view in longer sides of what it has to show
    # META_ARCHITECTURE completion_with_order: the model of the zoo that tells who hides whom.
    own.ORDER = "mask_order_photos"
    # Nothing is completed behind an instance that occludes with a smaller probability.
    own.OCCLUDER_THRESHOLD = 0.5
    # A hidden pixel belongs to the instance where the probability is above this. An expected
    # intersection over union of q is largest at q / (1 + q).
    own.THRESHOLD = 0.4
    own.OVERLAP_LOSS_WEIGHT = 0.5  # of the soft intersection over union beside the cross-entropy

    # What MaskCompletionMapper does to training data.
    cfg.INPUT.COMPLETION = own = CfgNode()
    own.STRIDE = 2  # every so many rows and columns of the masks are looked at; time
    own.TARGETS = 4  # instances of an image that are completed in training
    # Probability that what is completed is any instance, with an occluder pasted in front of it,
    # and not one that is hidden in the image and annotated as a whole.
    own.PASTE = 0.5
    own.OCCLUDERS = []  # data sets whose things have the shapes of pasted occluders; [] = the image
    own.BESIDE = 0.15  # share of pasted instances that lie behind, so that nothing is hidden
    own.MASK_NOISE = 0.7  # probability that the masks of an image get an annotator's errors
    # Probability that who hides something is as uncertain and as wrong as a network tells it.
    own.ORDER_NOISE = 0.6
    own.SHIFT = 0.1  # largest shift of a view, in sides
    own.SCALE = 1.25  # largest factor of a view's side
