"""CRF whose labels are the occlusion order (OOSIS Section 3.2), in NumPy."""

from occ_order.crf.energy import energy, occludes_from_heads, occludes_from_target
from occ_order.crf.instances import InstanceMap, instances
from occ_order.crf.solve import CRFResult, solve, solve_many

__all__ = [
    "CRFResult",
    "InstanceMap",
    "energy",
    "instances",
    "occludes_from_heads",
    "occludes_from_target",
    "solve",
    "solve_many",
]
