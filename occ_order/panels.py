"""Names of the panels that `occ_order.draw` draws of one image. Imports nothing.

The command line offers them in its help without importing what draws.
"""

PANELS = (
    "image",
    "overlay",
    "occlusion",
    "occlusion_graph",
    "depth_graph",
    "relative_depth",
    "amodal",
    "layers",
    "levels",
    "boundary",
    "check",
)
"""All panels, in their order on a sheet."""

PREDICTED = tuple(kind for kind in PANELS if kind not in ("image", "boundary", "check"))
"""Panels that show predictions only."""

SUMMARY = ("image", "overlay", "occlusion", "occlusion_graph", "relative_depth", "layers")
"""Panels for a one-page summary."""
