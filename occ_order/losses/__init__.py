"""Losses: functions over tensors, one module per subject; PyTorch only."""
