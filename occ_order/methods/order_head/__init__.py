"""The pairwise order head: orders of all pairs of an image in one pass, on top of a detector."""
