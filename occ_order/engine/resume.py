"""Checkpoints from which a training goes on as if it had never stopped."""

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
    """Detectron2's periodic checkpoints, with all that a training needs to go on.

    Beside model and trainer a file holds "random", the states of the random generators of every
    process, and "loader", the place in the training data. To be registered in all processes; only
    the first one writes.
    """

    def before_train(self) -> None:
        """Write the final file if a training ended between its last checkpoint and that file."""
        super().before_train()
        final = Path(self.checkpointer.save_dir, f"{self.file_prefix}_final.pth")
        lost = comm.all_gather(not final.is_file())[0]
        if lost and self.trainer.start_iter >= self.max_iter:
            self.trainer.iter = self.trainer.start_iter - 1
            self.after_step()
            self.trainer.iter = self.trainer.start_iter

    def after_step(self) -> None:
        """Save if it is time, or if this was the last iteration."""
        iteration = self.trainer.iter
        if (iteration + 1) % self.period and iteration < self.max_iter - 1:
            return
        states = comm.gather(random_state())
        if comm.is_main_process():
            loader = self.trainer.data_loader
            place = {"loader": loader.state_dict()} if hasattr(loader, "state_dict") else {}
            self.step(iteration, random=states, **place)


def restore(state: dict[str, Any], loader: Any, *, seed: int, iteration: int) -> None:
    """Put random generators and loader where a checkpoint has left them.

    What the checkpoint does not hold is logged: the training then goes on with other random numbers
    than an uninterrupted one would have seen.

    Args:
        state: what `OrderCheckpointer.resume_or_load` returns.
        loader: the training loader; one without `load_state_dict` starts anew.
        seed: seeds the generators of a process for which there is no state.
        iteration: the next one.
    """
    if "loader" in state and hasattr(loader, "load_state_dict"):
        loader.load_state_dict(state["loader"])
    else:
        logger.warning("The checkpoint does not say which images were seen: a new order starts")
    rank, states = comm.get_rank(), state.get("random") or []
    if rank < len(states):
        set_random_state(states[rank])
        return
    logger.warning("The checkpoint has no random state of process %d: seeded anew", rank)
    seed_all_rng((max(seed, 0) + 1_000_003 * (rank + 1) + iteration) % 2**31)
