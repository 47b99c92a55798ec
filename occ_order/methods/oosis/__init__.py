"""Semantic segmentation with oriented occlusion boundaries, and the CRF behind it (OOSIS)."""
