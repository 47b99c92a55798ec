"""Relation network: from pooled features to the logits of every ordered pair.

The logits of (a, b) and (b, a) are computed by the same function with the two instances exchanged,
so exchanging two instances transposes the output by construction.

Shapes: M instances, Q ordered pairs (`occ_order.methods.common.instance_pairs`), D hidden channels.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import nn

from occ_order.methods.common.instance_pairs import PairLayout
from occ_order.methods.common.pair_crops import union_boxes

INSTANCE_CUES = 7
PAIR_CUES = 14


def instance_geometry(boxes: torch.Tensor, area: torch.Tensor, size: torch.Tensor) -> torch.Tensor:
    """Compute position and size of each instance relative to its image.

    Args:
        boxes: float (M, 4), x0, y0, x1, y1, ends exclusive, in pixels.
        area: float (M,), area of the mask in pixels.
        size: float (M, 2), height and width of its image.

    Returns:
        float32 (M, 7): x, y of the centre, width, height, bottom edge and square root of the area,
        relative to the image size, and the fraction of the box that the mask fills.
    """
    height, width = size.unbind(1)
    x0, y0, x1, y1 = boxes.unbind(1)
    fill = area / ((x1 - x0) * (y1 - y0)).clamp(min=1)
    return torch.stack(
        [
            (x0 + x1) / (2 * width) - 0.5,
            (y0 + y1) / (2 * height) - 0.5,
            (x1 - x0) / width,
            (y1 - y0) / height,
            y1 / height - 0.5,
            (area / (height * width)).sqrt(),
            fill,
        ],
        1,
    )


def pair_geometry(
    boxes: torch.Tensor, area: torch.Tensor, length: torch.Tensor, layout: PairLayout
) -> torch.Tensor:
    """Compute relative position, relative size and contact of the two instances of each pair.

    Args:
        boxes: float (M, 4), in cells of the map.
        area: float (M,), in cells.
        length: float (Q,), contact length of each ordered pair in cells (`Contacts.length`).
        layout: the pairs.

    Returns:
        float32 (Q, 14): the differences (first minus second) of the box corners (4), centre (2),
        width and height (2) in units of the union box; half the logarithm of the ratio of areas;
        intersection of the boxes over the smaller box, and over the union box; whether the two are
        in contact; and the contact length of (first, second) and (second, first) in units of the
        square root of the area of the first and of the second.
    """
    first, second = boxes[layout.row], boxes[layout.col]
    union = union_boxes(boxes, layout.pairs)
    sides = (union[:, 2:] - union[:, :2]).clamp(min=1)
    apart = (first - second) / sides.repeat(1, 2)
    common = torch.minimum(first, second)[:, 2:] - torch.maximum(first, second)[:, :2]
    common = common.clamp(min=0).prod(1)
    areas = ((boxes[:, 2:] - boxes[:, :2]).prod(1)).clamp(min=1)
    smaller = torch.minimum(areas[layout.row], areas[layout.col])
    size = area.clamp(min=0.25).sqrt()
    ours, theirs = size[layout.row], size[layout.col]
    back = length[layout.swapped]
    columns = [
        apart,
        (apart[:, :2] + apart[:, 2:]) / 2,
        apart[:, 2:] - apart[:, :2],
        torch.log(ours / theirs)[:, None],
        (common / smaller)[:, None],
        (common / sides.prod(1))[:, None],
        (length > 0).float()[:, None],
        (length / ours)[:, None],
        (back / theirs)[:, None],
    ]
    return torch.cat(columns, 1)


class PairRelation(nn.Module):
    """Computes the logits of all ordered pairs by message passing on the graph of instances.

    Instances are nodes, ordered pairs are directed edges. In each of `rounds` rounds, an instance
    aggregates the states of its pairs (mean and maximum), and every pair is updated from the new
    states of its two instances. So the order of two instances that do not touch can be inferred
    from instances between them.
    """

    def __init__(
        self, instance_channels: int, pair_channels: int, hidden: int, rounds: int
    ) -> None:
        """Initialise the layers.

        Args:
            instance_channels: channels of an instance's features.
            pair_channels: channels of a pair's features.
            hidden: D.
            rounds: rounds of message passing.
        """
        super().__init__()
        self.instance = nn.Sequential(nn.Linear(instance_channels, hidden), nn.ReLU())
        self.ends = nn.Linear(hidden, 2 * hidden, bias=False)
        self.pair = nn.Linear(pair_channels, hidden)
        self.norm = nn.LayerNorm(hidden)
        self.mix = nn.Linear(hidden, hidden)
        self.gather = nn.ModuleList(nn.Linear(3 * hidden, hidden) for _ in range(rounds))
        self.again = nn.ModuleList(_Again(hidden) for _ in range(rounds))
        self.occlusion = nn.Linear(hidden, 1)
        self.depth = nn.Linear(hidden, 2)
        for layer in (self.occlusion, self.depth):
            nn.init.normal_(layer.weight, std=0.01)
            nn.init.zeros_(layer.bias)

    def forward(
        self,
        instances: torch.Tensor,
        pairs: torch.Tensor,
        layout: PairLayout,
        *,
        gathered: Callable[..., tuple[torch.Tensor, torch.Tensor]] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Compute the logits.

        Args:
            instances: float (M, instance_channels).
            pairs: float (Q, pair_channels).
            layout: the ordered pairs that Q enumerates.
            gathered: another implementation of `gather_pairs`.

        Returns:
            Logits: occlusion (Q,), the first instance occludes the second; depth (Q, 3), the first
            is closer, is farther, both are equally far.
        """
        gathered = gathered or gather_pairs
        state = self.instance(instances)
        seen = F.relu(self.norm(self.pair(pairs) + _spread(self.ends(state), layout)))
        seen = seen + F.relu(self.mix(seen))
        for gather, again in zip(self.gather, self.again, strict=True):
            state = F.relu(state + gather(torch.cat([state, *gathered(seen, state, layout)], 1)))
            seen = again(seen, state, layout)
        nearer, equal = self.depth(seen).unbind(1)
        # A sum of two floats does not depend on their order, so exchanging the instances swaps the
        # first two logits and leaves the third unchanged, bit for bit.
        depth = [nearer, nearer[layout.swapped], equal + equal[layout.swapped]]
        return self.occlusion(seen)[:, 0], torch.stack(depth, 1)


class _Again(nn.Module):
    """Residual update of the state of each pair from the states of its two instances."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.ends = nn.Linear(hidden, 2 * hidden, bias=False)
        self.pair = nn.Linear(hidden, hidden)
        self.norm = nn.LayerNorm(hidden)

    def forward(self, seen, state, layout: PairLayout) -> torch.Tensor:
        return seen + F.relu(self.norm(self.pair(seen) + _spread(self.ends(state), layout)))


def _spread(ends: torch.Tensor, layout: PairLayout) -> torch.Tensor:
    """Add the features of both instances of each pair, (Q, D).

    ``ends`` (M, 2 D): features of an instance as the first of a pair, then as the second.
    """
    first, second = ends.chunk(2, 1)
    return first[layout.row] + second[layout.col]


def gather_pairs(
    seen: torch.Tensor, state: torch.Tensor, layout: PairLayout
) -> tuple[torch.Tensor, torch.Tensor]:
    """Aggregate the states of the pairs of which an instance is the first.

    Args:
        seen: float (Q, D) >= 0, states of the pairs.
        state: float (M, D), of which only the shape is used.
        layout: the ordered pairs that Q enumerates.

    Returns:
        Mean and maximum (M, D) over the pairs with other instances; 0 for a single instance.
    """
    other = layout.off_diagonal
    seen, row = seen[other], layout.row[other]
    number = torch.bincount(row, minlength=len(state)).clamp(min=1)
    nothing = torch.zeros_like(state, dtype=seen.dtype)
    mean = nothing.index_add(0, row, seen) / number[:, None]
    index = row[:, None].expand_as(seen)
    return mean, nothing.scatter_reduce(0, index, seen, "amax", include_self=True)
