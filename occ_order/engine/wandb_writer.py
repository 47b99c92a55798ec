"""Scores, losses and images of a training to Weights & Biases, for those who ask for it."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Any

import yaml
from detectron2.config import CfgNode
from detectron2.utils.events import EventWriter, get_event_storage


class WandbWriter(EventWriter):
    """Writes the event storage to a run of wandb; on when LOGGING.WANDB_PROJECT is set.

    It must come before Detectron2's TensorBoard writer, which empties the storage of images.
    """

    def __init__(self, cfg: CfgNode, *, window_size: int = 20) -> None:
        """Start the run, with all settings.

        Args:
            cfg: LOGGING.WANDB_PROJECT, LOGGING.WANDB_NAME, OUTPUT_DIR and all that is recorded.
            window_size: iterations over which losses are smoothed.

        Raises:
            ImportError: wandb is not installed.
        """
        try:
            import wandb
        except ImportError as error:
            raise ImportError(
                f"LOGGING.WANDB_PROJECT is {cfg.LOGGING.WANDB_PROJECT!r}, but wandb is not "
                "installed: pip install wandb, or set LOGGING.WANDB_PROJECT ''"
            ) from error
        os.makedirs(cfg.OUTPUT_DIR, exist_ok=True)
        self._image, self._window = wandb.Image, window_size
        self._last = -1
        self._run = wandb.init(
            project=cfg.LOGGING.WANDB_PROJECT,
            name=cfg.LOGGING.WANDB_NAME or None,
            dir=cfg.OUTPUT_DIR,
            config=yaml.safe_load(cfg.dump()),
        )

    def write(self) -> None:
        """Write what is new since the last call, iteration by iteration."""
        storage = get_event_storage()
        steps: dict[int, dict[str, Any]] = defaultdict(dict)
        for name, (value, step) in storage.latest_with_smoothing_hint(self._window).items():
            if step > self._last:
                steps[step][name] = value
        for name, image, step in storage._vis_data:
            if step > self._last:
                steps[step][name] = self._image(image.transpose(1, 2, 0))
        for step in sorted(steps):
            self._run.log(steps[step], step=step)
        self._last = max([self._last, *steps])

    def close(self) -> None:
        """End the run."""
        self._run.finish()
