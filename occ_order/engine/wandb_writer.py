"""Optional logging of scores, losses and images to Weights & Biases."""

from __future__ import annotations

import os
from collections import defaultdict
from typing import Any

import yaml
from detectron2.config import CfgNode
from detectron2.utils.events import EventWriter, get_event_storage


class WandbWriter(EventWriter):
    """Write the event storage to a run of wandb; enabled by LOGGING.WANDB_PROJECT.

    Must be called before Detectron2's TensorBoard writer, which clears the images of the storage.
    """

    def __init__(self, cfg: CfgNode, *, window_size: int = 20) -> None:
        """Start the run and record the config.

        Args:
            cfg: config with LOGGING.WANDB_PROJECT, LOGGING.WANDB_NAME and OUTPUT_DIR.
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
        """Write all new values since the last call."""
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
        """Finish the run."""
        self._run.finish()
