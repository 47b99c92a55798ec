"""The RPN head of SLN's encoder: a few rows of a large map at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from detectron2.modeling import RPN_HEAD_REGISTRY
from detectron2.modeling.proposal_generator.rpn import StandardRPNHead
from torch import nn

from occ_order.methods.sln.mixing import MixedLater, mixed

ROWS = 16
"""Rows of a map that `RecomputingRPNHead` works on at a time."""


@RPN_HEAD_REGISTRY.register()
class RecomputingRPNHead(StandardRPNHead):
    """Detectron2's RPN head, with the same weights, that never has a whole hidden map in training.

    On features of stride 4 with 1,024 channels the hidden map of an image of 800 x 1088 pixels
    takes 223 MB, its gradient, the gradient before the activation and what convolutions copy as
    much each. So `ROWS` rows are taken at a time, with one more on either side for each 3 x 3
    convolution, and computed again for their gradients. Features may be `MixedLater`: then the
    mixture is made of these rows alone as well.
    """

    def forward(self, features: Sequence[torch.Tensor | MixedLater]) -> tuple[list, list]:
        """As of `StandardRPNHead`."""
        if not self.training:
            return super().forward(
                [x.whole() if isinstance(x, MixedLater) else x for x in features]
            )
        maps = [self._by_rows(x) for x in features]
        return [logits for logits, _ in maps], [deltas for _, deltas in maps]

    def _by_rows(self, x: torch.Tensor | MixedLater) -> tuple[torch.Tensor, torch.Tensor]:
        reach = len(self.conv) if isinstance(self.conv, nn.Sequential) else 1
        parts = [x.features, x.layer_maps] if isinstance(x, MixedLater) else [x]
        weights = [*self.parameters(), *(x.mix.parameters() if isinstance(x, MixedLater) else ())]

        def head(*strips: torch.Tensor) -> list[torch.Tensor]:
            strip = mixed(x.mix, *strips) if isinstance(x, MixedLater) else strips[0]
            return [level for (level,) in StandardRPNHead.forward(self, [strip])]

        return _ByRows.apply(head, reach, len(parts), *parts, *weights)


class _ByRows(torch.autograd.Function):
    """A function of maps, applied to a few rows at a time, in both directions.

    Slices of a map under autograd would each have a gradient of the size of the whole map.
    """

    @staticmethod
    def forward(
        context: Any, function: Callable, reach: int, count: int, *tensors: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """Return the joined results.

        Args:
            context: of autograd.
            function: `count` strips (B, C_i, rows, W) -> results of the same rows.
            reach: rows on either side that a row of the results depends on.
            count: number of maps.
            tensors: `count` maps (B, C_i, H, W), then the parameters of the function.
        """
        context.function, context.reach, context.count = function, reach, count
        context.save_for_backward(*tensors)
        device = tensors[0].device.type
        context.autocast = {
            "device_type": device,
            "dtype": torch.get_autocast_dtype(device),
            "enabled": torch.is_autocast_enabled(device),
        }
        found = [
            [part[:, :, kept] for part in function(*(x[:, :, rows] for x in tensors[:count]))]
            for rows, kept in _strips(tensors[0].shape[2], reach)
        ]
        return tuple(torch.cat(strips, dim=2) for strips in zip(*found, strict=True))

    @staticmethod
    def backward(context: Any, *gradients: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of the maps and of the parameters."""
        tensors, count = context.saved_tensors, context.count
        wanted = context.needs_input_grad[3:]
        sums = [torch.zeros_like(x) if w else None for x, w in zip(tensors, wanted, strict=True)]
        for rows, kept in _strips(tensors[0].shape[2], context.reach):
            strips = [
                x[:, :, rows].detach().requires_grad_(w)
                for x, w in zip(tensors[:count], wanted[:count], strict=True)
            ]
            asked = [x for x, w in zip([*strips, *tensors[count:]], wanted, strict=True) if w]
            with torch.enable_grad(), torch.autocast(**context.autocast):
                results = [part[:, :, kept] for part in context.function(*strips)]
            places = slice(rows.start + kept.start, rows.start + kept.stop)
            given = [gradient[:, :, places] for gradient in gradients]
            found = iter(torch.autograd.grad(results, asked, given, allow_unused=True))
            for k, total in enumerate(sums):
                part = None if total is None else next(found)
                if part is not None and total is not None:
                    (total[:, :, rows] if k < count else total).add_(part)
        return (None, None, None, *sums)


def _strips(height: int, reach: int) -> Iterator[tuple[slice, slice]]:
    """Yield the rows of each strip with what it depends on, and those of its results within it."""
    for start in range(0, height, ROWS):
        above = min(start, reach)  # rows of the map; at its border there is padding, as ever
        stop = min(start + ROWS, height)
        yield slice(start - above, min(stop + reach, height)), slice(above, above + stop - start)
