"""Annotation of occlusion and depth orders by several people, as for the InstaOrder data set."""
