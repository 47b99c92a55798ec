"""Order of pairs of given masks (InstaOrderNet, OrderNet, PCNet-M, baselines)."""

from occ_order.modeling.pairwise.baseline import OrderBaseline
from occ_order.modeling.pairwise.given import GivenInstances, given_instances, with_orders
from occ_order.modeling.pairwise.inputs import PairInputs
from occ_order.modeling.pairwise.networks import PairClassifier, build_torchvision_resnet_backbone
from occ_order.modeling.pairwise.order_net import PairwiseOrderNet
from occ_order.modeling.pairwise.pcnet_m import PCNetM
from occ_order.modeling.pairwise.unet import UNet

__all__ = [
    "GivenInstances",
    "OrderBaseline",
    "PCNetM",
    "PairClassifier",
    "PairInputs",
    "PairwiseOrderNet",
    "UNet",
    "build_torchvision_resnet_backbone",
    "given_instances",
    "with_orders",
]
