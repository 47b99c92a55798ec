"""Order of given masks on photographs; importing this package registers MaskOrderNet."""

from occ_order.modeling.mask_order.meta_arch import MaskOrderNet
from occ_order.modeling.mask_order.network import MaskOrderNetwork

__all__ = ["MaskOrderNet", "MaskOrderNetwork"]
