"""`occ-order zoo list`: the list alone, which needs no PyTorch."""

from __future__ import annotations

import argparse

from occ_order import model_zoo


def run(options: argparse.Namespace) -> int:
    """Print name and settings of every model; return the exit status."""
    for row in model_zoo.rows():
        print(f"{row['name']:32s} {row['config']}")
    return 0
