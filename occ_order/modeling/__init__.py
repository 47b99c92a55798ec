"""The networks; importing this package registers them with Detectron2."""

from occ_order.modeling import (
    backbone,
    disparity,
    mask_order,
    oosis,
    pairwise,
    roi_heads,
    segmenter,
    sln,
)

__all__ = [
    "backbone",
    "disparity",
    "mask_order",
    "oosis",
    "pairwise",
    "roi_heads",
    "segmenter",
    "sln",
]
