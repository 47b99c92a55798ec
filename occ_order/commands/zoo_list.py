"""`occ-order zoo list`: list the models. Imports no PyTorch."""

from __future__ import annotations

import argparse

from occ_order import model_zoo


def run(options: argparse.Namespace) -> int:
    """Print name and configuration of every model; return the exit status."""
    for row in model_zoo.rows():
        print(f"{row['name']:32s} {row['config']}")
    return 0
