"""Disparity from one picture, learned from instance orders (InstaDepthNet)."""
