"""Amodal instance segmentation by layers: SLN (Zhang et al., ACM MM 2019) and its baselines."""
