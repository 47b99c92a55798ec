"""`occ-order zoo list`: reads the list alone, so that it needs no PyTorch."""

from __future__ import annotations

import argparse
import json

from occ_order.cli.common import ZOO


def run(options: argparse.Namespace) -> int:
    """Print name and settings of every model; return the exit status."""
    for row in json.loads(ZOO.read_text(encoding="utf-8")):
        print(f"{row['name']:32s} {row['config']}")
    return 0
