"""Parts of a detector that learns things of any class from images that are labelled in part."""

from occ_order.modeling.segmenter.partly_labelled import PartlyLabelledROIHeads, PartlyLabelledRPN

__all__ = ["PartlyLabelledROIHeads", "PartlyLabelledRPN"]
