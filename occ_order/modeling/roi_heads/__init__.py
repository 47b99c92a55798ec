"""The pairwise order head: orders of all pairs of an image in one pass, on top of a detector."""

from occ_order.modeling.roi_heads.order_head import OrderHead
from occ_order.modeling.roi_heads.order_rcnn import OrderRCNN
from occ_order.modeling.roi_heads.order_roi_heads import (
    CascadeOrderROIHeads,
    OrderMixin,
    OrderROIHeads,
)

__all__ = [
    "CascadeOrderROIHeads",
    "OrderHead",
    "OrderMixin",
    "OrderRCNN",
    "OrderROIHeads",
]
