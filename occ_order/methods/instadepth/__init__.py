"""Disparity from one image, learned from instance orders (InstaDepthNet)."""
