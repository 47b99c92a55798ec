"""The pairwise order head: predicts all orders of an image in one pass, as part of a detector."""
