"""Training steps that stop before a non-finite loss or gradient changes the weights.

Detectron2 checks losses only when it gathers metrics; with a period above 1 or asynchronous
metrics, the weights are NaN when it stops. Here, every step is checked between the backward pass
and the optimiser step.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import torch
from detectron2.engine.train_loop import AMPTrainer, SimpleTrainer


class _Remembering:
    """Iterator that remembers its last item."""

    def __init__(self, iterator: Iterator[Any]) -> None:
        self._iterator = iterator
        self.last: Any = None

    def __next__(self) -> Any:
        self.last = next(self._iterator)
        return self.last


if TYPE_CHECKING:  # the base class that the mixin is combined with
    from detectron2.engine.train_loop import SimpleTrainer as _StepRunner
else:
    _StepRunner = object


class _StopsInTime(_StepRunner):
    """Mixin for Detectron2's step runners: checks between backward pass and optimiser step."""

    checks_gradients = True
    _data_loader_iter_obj: Any  # attribute of Detectron2's runner

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if self.async_write_metrics:
            raise ValueError("async_write_metrics hides losses that are not finite; leave it off")

    @property
    def _data_loader_iter(self) -> _Remembering:
        if self._data_loader_iter_obj is None:
            self._data_loader_iter_obj = _Remembering(iter(self.data_loader))
        return self._data_loader_iter_obj

    def _write_metrics(self, loss_dict: Mapping[str, torch.Tensor], *args: Any, **kwargs: Any):
        losses = {name: float(value.detach()) for name, value in loss_dict.items()}
        wrong = {name: value for name, value in losses.items() if not math.isfinite(value)}
        if wrong:
            self._stop(f"loss {', '.join(f'{name} = {wrong[name]}' for name in sorted(wrong))}")
        if self.checks_gradients:
            self._check_gradients()
        super()._write_metrics(loss_dict, *args, **kwargs)

    def _check_gradients(self) -> None:
        """Check the total norm first; only if it is not finite, check each parameter."""
        named = [(n, p.grad) for n, p in self.model.named_parameters() if p.grad is not None]
        if named and not torch.stack([g.detach().norm() for _, g in named]).isfinite().all():
            names = [name for name, grad in named if not grad.isfinite().all()]
            # The norm may overflow although all elements are finite. Gradient clipping by the norm
            # would then result in NaN weights, too.
            self._stop(f"gradient of {', '.join(names[:5]) or 'all parameters together'}")

    def _stop(self, what: str) -> None:
        batch = self._data_loader_iter.last
        raise FloatingPointError(
            f"stopped at iteration {self.iter} with the weights unchanged: {what} is not finite; "
            f"images of the batch: {', '.join(map(_image_name, batch)) or 'none'}"
        )


def _image_name(sample: Any) -> str:
    """Format id and file name of a sample, if present."""
    if not isinstance(sample, Mapping):
        return "(no id)"
    number, name = sample.get("image_id", "(no id)"), sample.get("file_name")
    return f"{number} ({name})" if name else str(number)


class FiniteTrainer(_StopsInTime, SimpleTrainer):
    """Detectron2's training step with checks for finite values."""


class FiniteAMPTrainer(_StopsInTime, AMPTrainer):
    """Detectron2's mixed-precision training step with checks for finite values.

    Only losses are checked: scaled gradients may overflow, and the scaler then skips the step.
    """

    checks_gradients = False


class FiniteBfloat16Trainer(_StopsInTime, SimpleTrainer):
    """Detectron2's training step with bfloat16 autocast, for CPUs with bfloat16 instructions.

    Weights, gradients and the optimiser stay in float32. Loss scaling is not needed, because
    bfloat16 has the range of float32.
    """

    def run_step(self) -> None:
        """Run one training step."""
        with torch.autocast("cpu", torch.bfloat16):
            super().run_step()
