"""Hooks of the trainer."""

from __future__ import annotations

import os
import statistics
import time
from pathlib import Path

from detectron2.engine import HookBase
from detectron2.utils import comm

from occ_order.files import write_json

TRAINING_TIME = "training_time.json"


LAST = 10
"""Number of final iterations over which `last_loss` is averaged."""


class TrainingTime(HookBase):
    """Write `training_time.json` with iterations, time, loss and number of parameters.

    CPU time is that of the first process with all its threads, without data-loading workers.
    Evaluation is included, except that after the last iteration. `first_loss` is the total loss of
    the first iteration, before the first weight update, `last_loss` its mean over the last `LAST`
    iterations, both None if no iteration was run; `parameters` is the number of all parameters of
    the network in millions.
    """

    def __init__(self, output_dir: str | os.PathLike[str]) -> None:
        """Set the output folder."""
        self.path = Path(output_dir, TRAINING_TIME)

    def before_train(self) -> None:
        """Start both timers."""
        self._start = time.process_time(), time.monotonic()

    def after_train(self) -> None:
        """Write the file."""
        if not comm.is_main_process():
            return
        cpu, wall = time.process_time() - self._start[0], time.monotonic() - self._start[1]
        iterations = self.trainer.iter - self.trainer.start_iter
        history = self.trainer.storage.histories().get("total_loss")
        losses = [value for value, _ in history.values()] if history else []
        model = self.trainer.model
        measured = {
            "iterations": iterations,
            "cpu_seconds": cpu,
            "wall_seconds": wall,
            "first_loss": losses[0] if losses else None,
            "last_loss": statistics.fmean(losses[-LAST:]) if losses else None,
            "parameters": sum(p.numel() for p in model.parameters()) / 1e6,
        }
        write_json(self.path, measured, indent=2)
