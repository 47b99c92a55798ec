"""Generated scenes of quick schedules, created on first use."""

from __future__ import annotations

import os
from pathlib import Path

from detectron2.config import CfgNode
from detectron2.utils import comm

from occ_order.formats.write_scenes import make, scene_parameters

PREFIX = "scenes_quick_"


def make_quick_scenes(cfg: CfgNode) -> None:
    """Generate the scenes of DATASETS.QUICK_SCENES if a data set `scenes_quick_*` is used.

    They are written to `scenes_quick` in `$DETECTRON2_DATASETS` unless they exist. The first
    process generates them while the others wait.

    Raises:
        ValueError: the folder has scenes generated with other settings.
    """
    if not any(name.startswith(PREFIX) for name in (*cfg.DATASETS.TRAIN, *cfg.DATASETS.TEST)):
        return
    if comm.get_local_rank() == 0:
        scenes = cfg.DATASETS.QUICK_SCENES
        root = os.path.expanduser(os.getenv("DETECTRON2_DATASETS", "datasets"))
        parameters = scene_parameters(
            train=scenes.TRAIN,
            val=scenes.VAL,
            seed=scenes.SEED,
            size=scenes.SIZE,
            instances=scenes.INSTANCES,
        )
        make(Path(root, "scenes_quick"), parameters)
    comm.synchronize()
