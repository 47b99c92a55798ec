"""The checkpointer of every training and evaluation here.

It is Detectron2's, with five differences: files appear whole or not at all; files that can run code
are refused unless allowed; resuming takes the newest file that can be loaded and never starts anew
in silence; weights that do not fit are an error where that would spoil the run; weights of ImageNet
have names (`occ_order.engine.checkpoint.pretrained`).
"""

from __future__ import annotations

import logging
import os
from typing import Any

import torch
from detectron2.checkpoint import DetectionCheckpointer

from occ_order.config.files import check_address
from occ_order.engine.checkpoint.files import (
    CheckpointError,
    read_checkpoint,
    read_iteration,
    remove_unfinished,
    write_checkpoint,
)
from occ_order.engine.checkpoint.pretrained import is_pretrained, read_pretrained
from occ_order.files import atomic_writer

LAST = "last_checkpoint"
"""File that names the checkpoint written last, as Detectron2 has it."""

_SHOWN = 20  # names of weights that a message repeats


class OrderCheckpointer(DetectionCheckpointer):
    """Saves and loads a model and, for training, the state of the trainer.

    Args:
        model: the network, also wrapped for several processes.
        save_dir: folder of the checkpoints; "" saves nothing.
        allow_unsafe_pickle: files are trusted; those that hold objects are loaded.
        strict: a weight of the model that the file lacks, or has in another shape, is an error;
            otherwise it is listed in the log. A file of which nothing fits is always an error.
        save_to_disk: by default only the first process saves.
        **checkpointables: what is saved beside the model, objects with ``state_dict``.
    """

    def __init__(
        self,
        model: torch.nn.Module,
        save_dir: str = "",
        *,
        allow_unsafe_pickle: bool = False,
        strict: bool = False,
        save_to_disk: bool | None = None,
        **checkpointables: Any,
    ) -> None:
        super().__init__(model, save_dir, save_to_disk=save_to_disk, **checkpointables)
        self.allow_unsafe_pickle = allow_unsafe_pickle
        self.strict = strict
        self.resumed_from = ""  # the file, once a training was resumed
        self.logger = logging.getLogger(__name__)

    # --- saving

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``save_dir/name.pth``, then ``last_checkpoint``; each is complete or absent.

        Args:
            name: file name without ".pth".
            **kwargs: plain values and tensors to save beside the model and the checkpointables.

        Raises:
            OSError: it cannot be written; earlier checkpoints are untouched.
        """
        if not self.save_dir or not self.save_to_disk:
            return
        basename = f"{name}.pth"
        if os.path.basename(basename) != basename:
            raise ValueError(f"a checkpoint's name must not have folders in it, got {name!r}")
        data = {"model": self.model.state_dict()}
        data |= {key: part.state_dict() for key, part in self.checkpointables.items()}
        path = os.path.join(self.save_dir, basename)
        self.logger.info("Saving checkpoint to %s", path)
        write_checkpoint(path, {**data, **kwargs})
        self.tag_last_checkpoint(basename)

    def tag_last_checkpoint(self, last_filename_basename: str) -> None:
        """Write the name of the newest checkpoint into ``last_checkpoint``."""
        with atomic_writer(os.path.join(self.save_dir, LAST)) as file:
            file.write(last_filename_basename)

    # --- finding what to resume from

    def has_checkpoint(self) -> bool:
        """Whether ``save_dir`` holds a training that can be resumed.

        Raises:
            CheckpointError: it holds one, but none of its files can be loaded.
        """
        return bool(self.get_checkpoint_file())

    def get_checkpoint_file(self) -> str:
        """Return the newest checkpoint in ``save_dir`` that can be loaded, "" where there is none.

        The newest is the one of the latest iteration, whatever ``last_checkpoint`` says: that file
        may be missing, or older than the checkpoint if the process was killed between the two.

        Raises:
            CheckpointError: there are traces of a training but no file that it could go on from.
        """
        found, faults = self._candidates()
        tagged = self._tagged()
        if not found and (faults or tagged is not None):
            raise CheckpointError(
                f"{self.save_dir}: cannot resume, and does not start anew in silence. "
                f"last_checkpoint names {tagged!r}; "
                + "; ".join(faults or ["no checkpoint is there"])
            )
        for fault in faults:
            self.logger.warning("Passing over %s", fault)
        if not found:
            return ""
        _, _, newest = max(found)
        if tagged != os.path.basename(newest):
            self.logger.warning(
                "%s names %r; the newest checkpoint that can be loaded is %s", LAST, tagged, newest
            )
        return newest

    def _tagged(self) -> str | None:
        """Return what ``last_checkpoint`` says, None where it is missing."""
        path = os.path.join(self.save_dir, LAST)
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read().strip()
        except OSError:
            return None

    def _candidates(self) -> tuple[list[tuple[int, float, str]], list[str]]:
        """Return (iteration, time, path) of usable checkpoints, and the faults of the others."""
        found, faults = [], []
        paths = self.get_all_checkpoint_files() if os.path.isdir(self.save_dir) else []
        for path in sorted(paths):
            try:
                iteration = read_iteration(path)
            except CheckpointError as error:
                faults.append(str(error))
                continue
            if iteration is not None:
                found.append((iteration, os.path.getmtime(path), path))
        return found, faults

    # --- loading

    def resume_or_load(self, path: str, *, resume: bool = True) -> dict[str, Any]:
        """Resume from ``save_dir`` if asked to and there is something; else load ``path``.

        Args:
            path: weights to start from, "" for none; not used when resuming.
            resume: whether to go on from the newest checkpoint in ``save_dir``.

        Returns:
            What the checkpoint holds beside the model and the checkpointables.

        Raises:
            CheckpointError: a training is there but cannot be resumed, or weights do not fit.
        """
        if not resume:
            return self.load(path, checkpointables=[])
        # Not when only weights are loaded: a training may be writing to the folder meanwhile.
        if self.checkpointables and self.save_to_disk and self.save_dir:
            for name in remove_unfinished(self.save_dir):
                self.logger.warning("Removed what an interrupted write has left: %s", name)
        newest = self.get_checkpoint_file()
        if not newest:
            self.logger.warning(
                "Nothing to resume in %s: starting at iteration 0", self.save_dir or "no folder"
            )
            return self.load(path, checkpointables=[])
        strict, self.strict = self.strict, True
        try:
            rest = self.load(newest)
        finally:
            self.strict = strict
        self.resumed_from = newest
        return rest

    def load(self, path: str, *args: Any, **kwargs: Any) -> dict[str, Any]:
        """Load a checkpoint; also from a URL (http, https, detectron2), or by a name of ImageNet.

        Raises:
            CheckpointError: damaged, refused, or it does not fit the model; another kind of URL.
            FileNotFoundError: no such file.
            ImportError: a package that holds the weights is missing.
        """
        if is_pretrained(path):
            self._path = path
            self.logger.info("Loading weights of ImageNet for the backbone: %s", path)
            self._load_model({"model": read_pretrained(path, self.model)})
            return {}
        if "://" in path:
            try:
                check_address(path, "checkpoint")
            except ValueError as error:
                raise CheckpointError(str(error)) from None
        elif path and not os.path.isfile(path.split("?", maxsplit=1)[0]):
            raise FileNotFoundError(f"checkpoint not found: {path}")
        self._path = path
        try:
            return super().load(path, *args, **kwargs)
        finally:
            self._parsed_url_during_load = None  # Detectron2 leaves it set after an error

    def _load_file(self, filename: str) -> dict[str, Any]:
        loaded = read_checkpoint(filename, allow_unsafe_pickle=self.allow_unsafe_pickle)
        query = self._parsed_url_during_load.query if self._parsed_url_during_load else ""
        if query not in ("", "matching_heuristics=True"):
            raise CheckpointError(f"{self._path}: unknown query {query!r}")
        return {**loaded, "matching_heuristics": True} if query else loaded

    def _load_model(self, checkpoint: dict[str, Any]) -> Any:
        given = list(checkpoint["model"])
        result = super()._load_model(checkpoint)
        shapes = {
            name: f"{name} {theirs} in the file, {ours} in the model"
            for name, theirs, ours in result.incorrect_shapes
        }
        missing = [name for name in result.missing_keys if name not in shapes]
        absent = {*missing, *shapes, "pixel_mean", "pixel_std"}  # the latter are no weights
        # PyTorch does not report the counters of batch norms as missing.
        own = (name for name in self.model.state_dict() if not name.endswith("num_batches_tracked"))
        if not set(own) - absent:
            listed = _some(list(shapes.values()) or given)
            raise CheckpointError(f"{self._path}: none of its weights fits the model: {listed}")
        if self.strict and (missing or shapes):
            parts = {"missing": missing, "of another shape": list(shapes.values())}
            listed = "; ".join(f"{what}: {_some(names)}" for what, names in parts.items() if names)
            raise CheckpointError(f"{self._path}: does not fit the model; {listed}")
        return result


def _some(names: list[str]) -> str:
    """Return the first names, and how many more."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
