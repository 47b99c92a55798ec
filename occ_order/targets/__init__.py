"""Ground truth computed from masks and order: oriented boundaries and layering maps.

The name `oriented_boundary` in this package is the function; import from its module by
``from occ_order.targets.oriented_boundary import ...``.
"""

from __future__ import annotations

from occ_order.targets.layering import (
    Layering,
    decode_level_set,
    decode_ordinal,
    decode_sem_dist,
    global_layers,
    instance_layers,
    level_set,
    object_order,
    order_from_levels,
    ordinal_targets,
    regional_order,
    sem_dist,
    split_sem_dist,
    visibility_levels,
)
from occ_order.targets.oriented_boundary import (
    DIRECTIONS,
    OFFSETS,
    OPPOSITE,
    boundary_and_orientation,
    flip_orientation,
    neighbour_slices,
    occluded_neighbours,
    oriented_boundary,
    semantic_map,
    thin_directions,
)

__all__ = [
    "DIRECTIONS",
    "OFFSETS",
    "OPPOSITE",
    "Layering",
    "boundary_and_orientation",
    "decode_level_set",
    "decode_ordinal",
    "decode_sem_dist",
    "flip_orientation",
    "global_layers",
    "instance_layers",
    "level_set",
    "neighbour_slices",
    "object_order",
    "occluded_neighbours",
    "order_from_levels",
    "ordinal_targets",
    "oriented_boundary",
    "regional_order",
    "sem_dist",
    "semantic_map",
    "split_sem_dist",
    "thin_directions",
    "visibility_levels",
]
