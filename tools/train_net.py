#!/usr/bin/env python
"""Train or evaluate any network of this package, on one machine or several.

    python tools/train_net.py --config-file configs/quick_schedules/oosis_instant_test.yaml
    python tools/train_net.py --config-file C --num-gpus 8 SOLVER.IMS_PER_BATCH 16
    python tools/train_net.py --config-file C --eval-only MODEL.WEIGHTS model_final.pth

The arguments are Detectron2's, see --help. Without a GPU use MODEL.DEVICE cpu.
"""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from occ_order.engine.launch import run

if __name__ == "__main__":
    run()
