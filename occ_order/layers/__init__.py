"""Building blocks of the networks that need PyTorch only."""
