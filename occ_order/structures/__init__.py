"""Fields of Detectron2's `Instances` that belong to pairs of instances, or to the image."""

from occ_order.structures.image_area import ImageArea
from occ_order.structures.pairwise import PairMatrix

__all__ = ["ImageArea", "PairMatrix"]
