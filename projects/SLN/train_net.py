#!/usr/bin/env python
"""Train or evaluate SLN: as tools/train_net.py, with the generated scenes as default.

python projects/SLN/train_net.py
python projects/SLN/train_net.py --config-file configs/SLN/sln_R50_FPN_cocoa.yaml --num-gpus 1
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from occ_order.engine.launch import run  # noqa: E402

if __name__ == "__main__":
    run(config_file=str(ROOT / "configs/SLN/sln_mini_scenes.yaml"))
