"""`occ-order train` and `occ-order eval`."""

from __future__ import annotations

import argparse

from occ_order.engine.launch import start


def run(options: argparse.Namespace) -> int:
    """Train or evaluate a network; return the exit status."""
    start(options)
    return 0
