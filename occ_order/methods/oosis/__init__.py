"""OOSIS: semantic segmentation with oriented occlusion boundaries, followed by CRF inference."""
