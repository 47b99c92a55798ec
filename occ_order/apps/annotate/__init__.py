"""Asking people for occlusion and depth orders, the way the InstaOrder data set was made."""
