"""InstaDepthNet: monocular disparity learned from instance orders."""
