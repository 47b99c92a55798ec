"""States of all random generators as plain values, for safe checkpoints."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch


def random_state() -> dict[str, Any]:
    """Return the states of Python's, NumPy's and PyTorch's global generators.

    Returns:
        {"python", "numpy", "torch", "cuda"}: tuples, lists, numbers and uint8 tensors on the CPU;
        "cuda" has one tensor for each GPU that this process uses.
    """
    numpy: Any = np.random.get_state()  # annotated as if it could be a dict
    kind, keys, position, has_gauss, gauss = numpy
    cuda = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else []
    return {
        "python": random.getstate(),
        "numpy": (kind, keys.tolist(), int(position), int(has_gauss), float(gauss)),
        "torch": torch.get_rng_state(),
        "cuda": cuda,
    }


def set_random_state(state: dict[str, Any]) -> None:
    """Restore the states of all generators from :func:`random_state`.

    States of GPUs are restored for the available GPUs.

    Raises:
        ValueError: invalid state.
    """
    try:
        version, keys, gauss = state["python"]
        random.setstate((version, tuple(keys), gauss))
        kind, numbers, position, has_gauss, cached = state["numpy"]
        array = np.asarray(numbers, np.uint32)
        np.random.set_state((kind, array, position, has_gauss, cached))
        torch.set_rng_state(state["torch"])
    except (KeyError, TypeError, RuntimeError) as error:
        raise ValueError(f"not the state of the random generators: {error!r}") from error
    if torch.cuda.is_available():
        for device, value in list(enumerate(state["cuda"]))[: torch.cuda.device_count()]:
            torch.cuda.set_rng_state(value, device)


@contextmanager
def kept_random_state() -> Iterator[None]:
    """Restore the states of all random generators at the end of the block."""
    state = random_state()
    try:
        yield
    finally:
        set_random_state(state)


@contextmanager
def seeded(*numbers: int) -> Iterator[None]:
    """Seed the CPU generators inside the block and restore their states at its end.

    Args:
        *numbers: non-negative integers, which are combined to the seed.
    """
    state = random.getstate(), np.random.get_state(), torch.get_rng_state()
    seeds = np.random.SeedSequence(numbers).generate_state(3)
    random.seed(int(seeds[0]))
    np.random.seed(seeds[1])
    torch.default_generator.manual_seed(int(seeds[2]))
    try:
        yield
    finally:
        random.setstate(state[0])
        np.random.set_state(state[1])
        torch.set_rng_state(state[2])
