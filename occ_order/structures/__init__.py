"""Fields of Detectron2's `Instances` that belong to pairs of instances."""

from occ_order.structures.pairwise import PairMatrix

__all__ = ["PairMatrix"]
