#!/usr/bin/env python
"""Train or evaluate the networks of this project; the same command as tools/train_net.py.

python projects/InstaOrder/train_net.py --config-file configs/InstaOrder/instaorder_net_o.yaml
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from occ_order.engine.launch import run

if __name__ == "__main__":
    run()
