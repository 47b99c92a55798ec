"""The checkpointer used for training and evaluation.

It differs from Detectron2's in five ways: files are written atomically; files that can execute code
are rejected unless allowed; resuming uses the newest loadable file and never restarts silently;
weights that do not match are an error where they would invalidate the run; ImageNet weights are
loaded by name (`occ_order.engine.checkpoint.pretrained`).
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
"""File with the name of the last checkpoint, as in Detectron2."""

_SHOWN = 20  # maximum number of weight names in a message


class OrderCheckpointer(DetectionCheckpointer):
    """Save and load a model and, for training, the state of the trainer.

    Args:
        model: the network, possibly wrapped for distributed training.
        save_dir: folder of the checkpoints; "" = do not save.
        allow_unsafe_pickle: load files with arbitrary objects; only for trusted files.
        strict: raise an error if a weight of the model is missing in the file or has another
            shape; otherwise log it. A file without any matching weight is always an error.
        save_to_disk: whether this process saves; default: only the first process.
        **checkpointables: objects with ``state_dict`` to save with the model.
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
        self.resumed_from = ""  # the file from which training was resumed
        self.logger = logging.getLogger(__name__)

    # --- saving

    def save(self, name: str, **kwargs: Any) -> None:
        """Write ``save_dir/name.pth``, then ``last_checkpoint``, each atomically.

        Args:
            name: file name without ".pth".
            **kwargs: plain values and tensors to save in addition.

        Raises:
            OSError: a file cannot be written; earlier checkpoints are not affected.
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

    # --- finding the checkpoint to resume from

    def has_checkpoint(self) -> bool:
        """Return whether ``save_dir`` contains a training that can be resumed.

        Raises:
            CheckpointError: it contains a training, but no loadable checkpoint.
        """
        return bool(self.get_checkpoint_file())

    def get_checkpoint_file(self) -> str:
        """Return the newest loadable checkpoint in ``save_dir``, or "".

        The newest is the one of the latest iteration, regardless of ``last_checkpoint``: that file
        may be missing or outdated if the process was killed between writing the two.

        Raises:
            CheckpointError: there are files of a training, but no loadable checkpoint.
        """
        found, faults = self._candidates()
        tagged = self._tagged()
        if not found and (faults or tagged is not None):
            raise CheckpointError(
                f"{self.save_dir}: cannot resume, and does not restart silently. "
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
        """Return the content of ``last_checkpoint``, or None if it is missing."""
        path = os.path.join(self.save_dir, LAST)
        try:
            with open(path, encoding="utf-8", errors="replace") as file:
                return file.read().strip()
        except OSError:
            return None

    def _candidates(self) -> tuple[list[tuple[int, float, str]], list[str]]:
        """Return (iteration, time, path) of usable checkpoints, and errors of the others."""
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
        """Resume from ``save_dir`` if requested and possible; otherwise load ``path``.

        Args:
            path: initial weights, "" = none; ignored when resuming.
            resume: whether to continue from the newest checkpoint in ``save_dir``.

        Returns:
            Entries of the checkpoint other than the model and the checkpointables.

        Raises:
            CheckpointError: a training cannot be resumed, or weights do not match.
        """
        if not resume:
            return self.load(path, checkpointables=[])
        # Only when resuming: otherwise another process may be writing a checkpoint to this folder.
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
        """Load a checkpoint: a file, a URL (http, https, detectron2) or a name of ImageNet weights.

        Raises:
            CheckpointError: invalid or rejected file, weights that do not match, or unsupported
                URL.
            FileNotFoundError: the file does not exist.
            ImportError: the package of the weights is not installed.
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
            self._parsed_url_during_load = None  # Detectron2 does not reset it after an error

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
        absent = {*missing, *shapes, "pixel_mean", "pixel_std"}  # the latter two are constants
        # PyTorch does not report missing counters of batch norms.
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
    """Format the first names and the number of others."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
