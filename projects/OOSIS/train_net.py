#!/usr/bin/env python
"""Train or evaluate OOSIS: as tools/train_net.py, with the generated scenes as default.

python projects/OOSIS/train_net.py
python projects/OOSIS/train_net.py --config-file configs/OOSIS/kins/oosis_R50.yaml --num-gpus 1
"""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

from occ_order.engine.launch import run  # noqa: E402

if __name__ == "__main__":
    run(config_file=str(ROOT / "configs/OOSIS/scenes/oosis_mini.yaml"))
