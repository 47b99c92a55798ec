"""Checkpoints with which a resumed training equals an uninterrupted one."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

from detectron2.engine import hooks
from detectron2.utils import comm
from detectron2.utils.env import seed_all_rng

from occ_order.engine.checkpoint import random_state, set_random_state

logger = logging.getLogger(__name__)


class ResumableCheckpoints(hooks.PeriodicCheckpointer):
    """Detectron2's periodic checkpoints with the complete state of training.

    In addition to model and trainer, a file contains "random", the states of the random generators
    of every process, and "loader", the position in the training data. Register it in all processes;
    only the first one writes.
    """

    def before_train(self) -> None:
        """Write the final file if training ended between its last checkpoint and that file."""
        super().before_train()
        final = Path(self.checkpointer.save_dir, f"{self.file_prefix}_final.pth")
        lost = comm.all_gather(not final.is_file())[0]
        if lost and self.trainer.start_iter >= self.max_iter:
            self.trainer.iter = self.trainer.start_iter - 1
            self.after_step()
            self.trainer.iter = self.trainer.start_iter

    def after_step(self) -> None:
        """Save periodically and after the last iteration."""
        iteration = self.trainer.iter
        if (iteration + 1) % self.period and iteration < self.max_iter - 1:
            return
        states = comm.gather(random_state())
        if comm.is_main_process():
            loader = self.trainer.data_loader
            place = {"loader": loader.state_dict()} if hasattr(loader, "state_dict") else {}
            self.step(iteration, random=states, **place)


def restore(state: dict[str, Any], loader: Any, *, seed: int, iteration: int) -> None:
    """Restore random generators and loader from a checkpoint.

    Missing states are logged: training then continues with random numbers that differ from those of
        an
    uninterrupted one.

    Args:
        state: result of `OrderCheckpointer.resume_or_load`.
        loader: the training loader; one without `load_state_dict` starts from the beginning.
        seed: seed of the generators of a process without a saved state.
        iteration: the next iteration.
    """
    if "loader" in state and hasattr(loader, "load_state_dict"):
        loader.load_state_dict(state["loader"])
    else:
        logger.warning("The checkpoint has no state of the training data: images are reshuffled")
    rank, states = comm.get_rank(), state.get("random") or []
    if rank < len(states):
        set_random_state(states[rank])
        return
    logger.warning("The checkpoint has no random state of process %d: using a new seed", rank)
    seed_all_rng((max(seed, 0) + 1_000_003 * (rank + 1) + iteration) % 2**31)
