"""Pictures of masks, oriented boundaries, order graphs and curves; HTML reports.

Plain functions: arrays in, uint8 RGB pictures out. Needs neither PyTorch nor Detectron2, and no
display.
"""

from __future__ import annotations

from occ_order.visualization.boundaries import boundary_legend, draw_oriented_boundary
from occ_order.visualization.canvas import (
    display_scale,
    enlarge,
    fade,
    join,
    jpeg_bytes,
    label_points,
    png_bytes,
)
from occ_order.visualization.colors import (
    DIRECTION_COLORS,
    EDGE_STYLES,
    blend_directions,
    depth_colors,
    instance_colors,
)
from occ_order.visualization.curves import draw_accuracy_recall
from occ_order.visualization.graphs import draw_graph_on_image, draw_order_graph, thumbnails
from occ_order.visualization.layout import Layout, layered_layout
from occ_order.visualization.maps import (
    depth_legend,
    draw_instances,
    draw_relative_depth,
    draw_semantic,
)
from occ_order.visualization.report import ReportPicture, encode_picture, render_report
from occ_order.visualization.verdicts import edge_verdicts, match_instances

__all__ = [
    "DIRECTION_COLORS",
    "EDGE_STYLES",
    "Layout",
    "ReportPicture",
    "blend_directions",
    "boundary_legend",
    "depth_colors",
    "depth_legend",
    "display_scale",
    "draw_accuracy_recall",
    "draw_graph_on_image",
    "draw_instances",
    "draw_oriented_boundary",
    "draw_order_graph",
    "draw_relative_depth",
    "draw_semantic",
    "edge_verdicts",
    "encode_picture",
    "enlarge",
    "fade",
    "instance_colors",
    "jpeg_bytes",
    "join",
    "label_points",
    "layered_layout",
    "match_instances",
    "png_bytes",
    "render_report",
    "thumbnails",
]
