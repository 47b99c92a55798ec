"""Drawing of masks, oriented boundaries, order graphs and curves.

Functions take arrays and return uint8 RGB images; :func:`panels` draws all available results of one
image. Needs neither PyTorch nor Detectron2, and no display.
"""

from __future__ import annotations

from occ_order.draw.boundaries import boundary_legend, draw_oriented_boundary
from occ_order.draw.canvas import (
    display_scale,
    enlarge,
    fade,
    join,
    jpeg_bytes,
    label_points,
    png_bytes,
)
from occ_order.draw.colors import (
    DIRECTION_COLORS,
    EDGE_STYLES,
    blend_directions,
    depth_colors,
    instance_colors,
)
from occ_order.draw.curves import draw_accuracy_recall
from occ_order.draw.graphs import draw_graph_on_image, draw_order_graph, thumbnails
from occ_order.draw.image_panels import Panel, panels
from occ_order.draw.layout import Layout, layered_layout
from occ_order.draw.maps import depth_legend, draw_instances, draw_relative_depth, draw_semantic
from occ_order.draw.verdicts import edge_verdicts, match_instances
from occ_order.draw.whole import draw_amodal, draw_layers

__all__ = [
    "DIRECTION_COLORS",
    "EDGE_STYLES",
    "Layout",
    "Panel",
    "blend_directions",
    "boundary_legend",
    "depth_colors",
    "depth_legend",
    "display_scale",
    "draw_accuracy_recall",
    "draw_amodal",
    "draw_graph_on_image",
    "draw_instances",
    "draw_layers",
    "draw_order_graph",
    "draw_oriented_boundary",
    "draw_relative_depth",
    "draw_semantic",
    "edge_verdicts",
    "enlarge",
    "fade",
    "instance_colors",
    "join",
    "jpeg_bytes",
    "label_points",
    "layered_layout",
    "match_instances",
    "panels",
    "png_bytes",
    "thumbnails",
]
