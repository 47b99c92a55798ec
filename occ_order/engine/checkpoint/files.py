"""Checkpoint files: written atomically, read without executing code.

A pickle is a program: loading one can execute any command. This does not apply to ``torch.load`` of
tensors and plain values (``weights_only``), to safetensors, and to `plain_pickle`, which reads the
``.pkl`` files of Detectron2's model zoo. Files with other objects are therefore rejected unless the
caller trusts them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pickle
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch

from occ_order.engine.checkpoint.plain_pickle import RefusedNameError, load_plain_pickle
from occ_order.files import atomic_writer

logger = logging.getLogger(__name__)

_OBJECT = re.compile(r"nsupported (?:global: )?GLOBAL (\S+)")  # message of PyTorch

UNSAFE_FLAG = "--allow-unsafe-pickle"
"""Command-line flag named in error messages."""

WEIGHT_KEYS = ("model", "state_dict", "model_state", "model_state_dict")
"""Keys of the weights in checkpoints of different projects."""


class CheckpointError(ValueError):
    """Checkpoint that is invalid, rejected or does not match the model; names the file."""


def write_checkpoint(path: str | os.PathLike, data: Mapping[str, Any]) -> None:
    """Write a checkpoint atomically.

    Args:
        path: the file. Data are written to a temporary hidden file in the same folder, synced and
            renamed; the folder is synced as well.
        data: nested tensors, arrays and plain values; numbers and arrays of NumPy are converted
            to Python and PyTorch for the safe mode of ``torch.load``.

    Raises:
        OSError: the folder is not writable or full; existing files are not affected.
    """
    try:
        with atomic_writer(path, "wb") as file:
            torch.save(_plain(dict(data)), file)
    except (OSError, RuntimeError) as error:  # PyTorch raises RuntimeError for a full disk
        reason = _first_os_error(error)
        raise OSError(
            f"{os.fspath(path)}: the checkpoint could not be written ({reason}); "
            "earlier checkpoints are not affected"
        ) from error


def as_half(weights: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Convert weights to float16 on the CPU, to halve the size of a checkpoint.

    Args:
        weights: names -> tensors of any dtype, on any device. Models load them as float32.

    Returns:
        The same on the CPU, floating-point ones as float16.

    Raises:
        ValueError: a weight is not finite in float16.
    """
    small = {}
    for name, weight in weights.items():
        half = weight.detach().cpu()
        if half.is_floating_point():
            half = half.to(torch.float16)
            if not torch.isfinite(half).all():
                raise ValueError(f"weight {name} is not finite in float16")
        small[name] = half.contiguous()
    return small


def _plain(value: Any) -> Any:
    """Convert NumPy types in nested containers to plain ones; ordered dicts keep their class."""
    if isinstance(value, np.generic):
        return value.item()
    if isinstance(value, np.ndarray):
        return torch.from_numpy(np.ascontiguousarray(value))
    if type(value) in (dict, list, tuple):
        if isinstance(value, dict):
            return {_plain(key): _plain(item) for key, item in value.items()}
        return type(value)(map(_plain, value))
    return value


def _first_os_error(error: BaseException) -> BaseException:
    """Return the OSError in the chain of causes of an error, or the error itself."""
    seen: BaseException | None = error
    while seen is not None:
        if isinstance(seen, OSError):
            return seen
        seen = seen.__cause__ or seen.__context__
    return error


def read_checkpoint(
    path: str | os.PathLike, *, allow_unsafe_pickle: bool = False
) -> dict[str, Any]:
    """Read a checkpoint onto the CPU.

    Args:
        path: ``.safetensors``; ``.pkl`` with arrays and plain values; any other file is read by
            the safe mode of ``torch.load``.
        allow_unsafe_pickle: load other objects, which can execute code; logs a warning. Only for
            trusted files.

    Returns:
        The dict of the file with key "model": names -> tensors or arrays. Files of Caffe2 and pycls
        have "matching_heuristics", with which Detectron2 renames weights.

    Raises:
        CheckpointError: the file is invalid, contains objects, or has no weights.
        FileNotFoundError: the file does not exist.
        ImportError: safetensors is not installed.
    """
    path = os.fspath(path)
    if not os.path.isfile(path):
        raise FileNotFoundError(f"checkpoint not found: {path}")
    if path.endswith(".safetensors"):
        return {"model": _read_safetensors(path)}
    if path.endswith(".pkl"):
        return _weights_of_pickle(_read_pickle(path, allow_unsafe_pickle), path)
    data = _read_torch(path, allow_unsafe_pickle)
    return _with_model(data, path)


def _read_safetensors(path: str) -> dict[str, torch.Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ImportError as error:
        raise ImportError(
            f"{path}: reading it needs safetensors: pip install safetensors"
        ) from error
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path}: not a readable safetensors file ({error})") from error


def _read_pickle(path: str, unsafe: bool) -> Any:
    try:
        with open(path, "rb") as file:
            return load_plain_pickle(file)
    except RefusedNameError as error:
        if not unsafe:
            raise CheckpointError(_refusal(path, str(error))) from error
    except pickle.UnpicklingError as error:
        raise CheckpointError(f"{path}: not a readable pickle ({error})") from error
    logger.warning("%s: loading objects, which can run code (%s)", path, UNSAFE_FLAG)
    with open(path, "rb") as file:
        try:
            return pickle.load(file, encoding="latin1")
        except (pickle.UnpicklingError, EOFError) as error:
            raise CheckpointError(f"{path}: not a readable pickle ({error})") from error


def _refusal(path: str, name: str) -> str:
    return (
        f"{path}: contains {name}; objects other than tensors and plain values can execute code "
        f"when loaded; if you trust the file, use {UNSAFE_FLAG}"
    )


def _read_torch(path: str, unsafe: bool, *, mmap: bool = False) -> Any:
    if os.path.getsize(path) == 0:
        raise CheckpointError(f"{path}: the file is empty")
    safely = {"map_location": "cpu", "mmap": mmap}
    try:
        return torch.load(path, weights_only=True, **safely)
    except Exception as error:  # damaged files raise many kinds of errors
        held = _OBJECT.search(str(error))
        if not held:
            reason = f"{type(error).__name__}: {_first_line(error)}"
            raise CheckpointError(f"{path}: not a readable checkpoint ({reason})") from error
        if not unsafe:
            raise CheckpointError(_refusal(path, held[1])) from error
    logger.warning("%s: loading objects, which can run code (%s)", path, UNSAFE_FLAG)
    return torch.load(path, weights_only=False, **safely)


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [""])[0]


def _with_model(data: Any, path: str) -> dict[str, Any]:
    """Return the dict of the file with its weights under "model"."""
    if not isinstance(data, Mapping):
        raise CheckpointError(f"{path}: must contain a dict of weights, got {type(data).__name__}")
    data = dict(data)
    key = next((key for key in WEIGHT_KEYS if isinstance(data.get(key), Mapping)), None)
    weights = data if key is None else data.pop(key)
    rest = {} if key is None else data
    _check_weights(weights, path)
    if key == "model_state":  # names of pycls require matching
        weights = {k: v for k, v in weights.items() if not k.endswith("num_batches_tracked")}
        rest = {"__author__": "pycls", "matching_heuristics": True}
    return {**rest, "model": weights}


def _check_weights(weights: Mapping[str, Any], path: str) -> None:
    wrong = [
        name
        for name, value in weights.items()
        if not isinstance(name, str) or not isinstance(value, (torch.Tensor, np.ndarray))
    ]
    if wrong or not weights:
        what = f"{wrong[0]!r} is not a tensor" if wrong else "it is empty"
        raise CheckpointError(f"{path}: contains no weights: {what}")


def _weights_of_pickle(data: Any, path: str) -> dict[str, Any]:
    """Read both kinds of Detectron2's pickles: its own model zoo, and Caffe2 blobs."""
    if not isinstance(data, Mapping):
        raise CheckpointError(f"{path}: must contain a dict of weights, got {type(data).__name__}")
    if isinstance(data.get("model"), Mapping) and "__author__" in data:
        _check_weights(data["model"], path)
        return dict(data)
    blobs = data.get("blobs", data)
    if not isinstance(blobs, Mapping):
        raise CheckpointError(f"{path}: 'blobs' must be a dict, got {type(blobs).__name__}")
    weights = {name: blobs[name] for name in blobs if not str(name).endswith("_momentum")}
    _check_weights(weights, path)
    return {"model": weights, "__author__": "Caffe2", "matching_heuristics": True}


def read_iteration(path: str | os.PathLike) -> int | None:
    """Return the iteration of a training checkpoint, without reading its tensors.

    Returns:
        The iteration; None if the file contains only weights and cannot be resumed from.

    Raises:
        CheckpointError: the file is invalid or contains objects.
    """
    path = os.fspath(path)
    try:
        data = _read_torch(path, False, mmap=True)
    except CheckpointError:
        data = _read_torch(path, False)  # files of PyTorch < 1.6 cannot be memory-mapped
    if not isinstance(data, Mapping) or "trainer" not in data:
        return None
    iteration = data.get("iteration")
    return iteration if isinstance(iteration, int) else None


def remove_unfinished(folder: str | os.PathLike) -> list[str]:
    """Delete the remains of interrupted writes in a folder and return their names."""
    removed = []
    with contextlib.suppress(FileNotFoundError):
        for name in sorted(os.listdir(folder)):
            if name.startswith(".") and name.endswith(".part"):
                os.unlink(os.path.join(folder, name))
                removed.append(name)
    return removed
