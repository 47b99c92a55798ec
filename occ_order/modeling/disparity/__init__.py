"""Disparity from one picture, learned from instance orders (InstaDepthNet)."""

from occ_order.modeling.disparity.disparity_net import DisparityNet
from occ_order.modeling.disparity.insta_depth_net import InstaDepthNet
from occ_order.modeling.disparity.predict import predict_disparity

__all__ = ["DisparityNet", "InstaDepthNet", "predict_disparity"]
