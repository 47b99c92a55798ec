"""Orders between instances: definition, graph algorithms, baselines and files.

* :mod:`~occ_order.order.encoding`: definition of the order matrices, conversion from and to other
  notations; :mod:`~occ_order.order.kins`: that of KINS.
* :mod:`~occ_order.order.pairs`: selection of pairs.
* :mod:`~occ_order.order.graph`: paths, cycles, layers and relative depth.
* :mod:`~occ_order.order.near_to_far`: one ranking from occlusion and depth order.
* :mod:`~occ_order.order.baselines`: orders predicted without a network.
* :mod:`~occ_order.order.support`: occlusions that follow from the masks alone.
* :mod:`~occ_order.order.io`: results on disk.
"""

from occ_order.order import baselines, encoding, graph, io, kins, pairs, support
from occ_order.order.baselines import (
    area_order,
    bottom_edge_order,
    disparity_order,
    y_axis_order,
)
from occ_order.order.encoding import (
    CLOSER,
    DISTINCT,
    EQUAL,
    FARTHER,
    OVERLAPPING,
    UNKNOWN,
    check_depth,
    check_occlusion,
    depth_from_instaorder,
    depth_to_instaorder,
    edges_from_occlusion,
    occlusion_count_from_instaorder,
    occlusion_from_depth_constraint,
    occlusion_from_edges,
    occlusion_from_instaorder,
    occlusion_from_masks,
    occlusion_from_signed,
    occlusion_to_depth_constraint,
    occlusion_to_instaorder,
    occlusion_to_signed,
)
from occ_order.order.graph import (
    break_cycles,
    cycles,
    group_labels,
    has_path,
    instances_in_cycles,
    layers,
    reachability,
    relative_depth,
    resolve_cycles,
    simple_cycles,
    to_networkx,
)
from occ_order.order.io import load_results, matrices, results_image, save_results
from occ_order.order.kins import occlusion_from_kins, occlusion_to_kins
from occ_order.order.near_to_far import nearness
from occ_order.order.pairs import (
    all_pairs,
    bordering_pairs,
    both_directions,
    overlapping_pairs,
    select_pairs,
)
from occ_order.order.support import set_into

__all__ = [
    "CLOSER",
    "DISTINCT",
    "EQUAL",
    "FARTHER",
    "OVERLAPPING",
    "UNKNOWN",
    "all_pairs",
    "area_order",
    "baselines",
    "bordering_pairs",
    "both_directions",
    "bottom_edge_order",
    "break_cycles",
    "check_depth",
    "check_occlusion",
    "cycles",
    "depth_from_instaorder",
    "depth_to_instaorder",
    "disparity_order",
    "edges_from_occlusion",
    "encoding",
    "graph",
    "group_labels",
    "has_path",
    "instances_in_cycles",
    "io",
    "kins",
    "layers",
    "load_results",
    "matrices",
    "nearness",
    "occlusion_count_from_instaorder",
    "occlusion_from_depth_constraint",
    "occlusion_from_edges",
    "occlusion_from_instaorder",
    "occlusion_from_kins",
    "occlusion_from_masks",
    "occlusion_from_signed",
    "occlusion_to_depth_constraint",
    "occlusion_to_instaorder",
    "occlusion_to_kins",
    "occlusion_to_signed",
    "overlapping_pairs",
    "pairs",
    "reachability",
    "relative_depth",
    "resolve_cycles",
    "results_image",
    "save_results",
    "select_pairs",
    "set_into",
    "simple_cycles",
    "support",
    "to_networkx",
    "y_axis_order",
]
