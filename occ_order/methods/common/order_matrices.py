"""Losses of the order head, and conversion of its logits to order matrices.

Shapes: Q ordered pairs of a batch (`occ_order.methods.common.instance_pairs`), N instances of an
image.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from detectron2.structures import Instances

from occ_order.methods.common.instance_pairs import PairLayout
from occ_order.methods.common.pair_losses import depth_loss, occlusion_loss

ROUNDING = 1e-6
"""Difference of two probabilities below which they are the same."""


def order_losses(
    occlusion: torch.Tensor,
    depth: torch.Tensor,
    layout: PairLayout,
    targets: Sequence[Instances],
    *,
    depth_weights: tuple[float, float] = (0.9, 0.1),
) -> tuple[torch.Tensor, torch.Tensor]:
    """Compute the losses over all annotated pairs of a batch.

    Args:
        occlusion: float (Q,), logit of "the first occludes the second".
        depth: float (Q, 3), logits of closer, farther, equal.
        layout: the pairs.
        targets: ground truth of each image with PairMatrix fields gt_occlusion, gt_depth,
            gt_overlap; entries of -1 are ignored.
        depth_weights: weights of distinct and of overlapping pairs.

    Returns:
        The occlusion loss and the depth loss; both 0, with a gradient, without annotated pairs.
    """
    wanted = flat_matrices(targets, "gt_occlusion", occlusion.device).float()
    wanted = torch.where(layout.off_diagonal, wanted, -1.0)
    upper = layout.row < layout.col  # the lower triangle is redundant
    classes = flat_matrices(targets, "gt_depth", depth.device).long()[upper]
    classes = torch.where((classes == 0) | (classes == 1), 1 - classes, classes)
    overlap = flat_matrices(targets, "gt_overlap", depth.device)[upper]
    return (
        occlusion_loss(occlusion, wanted),
        depth_loss(depth[upper], classes, overlap, weights=depth_weights),
    )


def flat_matrices(targets: Sequence[Instances], name: str, device: torch.device) -> torch.Tensor:
    """Concatenate a matrix field of all images to (Q,), in the order of the layout."""
    parts = [one.get(name).tensor.reshape(-1).to(device) for one in targets]
    return torch.cat(parts) if parts else torch.zeros(0, device=device)


def order_matrices(
    occlusion: torch.Tensor, depth: torch.Tensor, layout: PairLayout, *, threshold: float = 0.5
) -> list[dict[str, torch.Tensor]]:
    """Convert the logits of a batch to order matrices per image.

    Args:
        occlusion: float (Q,).
        depth: float (Q, 3).
        layout: the pairs.
        threshold: occlusion probability above which an instance occludes another.

    Returns:
        For each image "occlusion" int8 (N, N), "occlusion_probability" float32 (N, N), "depth" int8
        (N, N), "depth_probability" float32 (N, N, 3) [closer, farther, equal]. If closer and
        farther have the same probability up to rounding, as for two identical masks, the depth is
        equal. The diagonals are 0, 0, -1 and 0.
    """
    other = layout.off_diagonal
    over = occlusion.float().sigmoid() * other
    chance = depth.float().softmax(1) * other[:, None]
    best = chance.argmax(1)
    best = torch.where((chance[:, 0] - chance[:, 1]).abs() < ROUNDING, 2, best)
    relation = torch.where(best == 2, best, 1 - best)
    values = {
        "occlusion": (over > threshold).to(torch.int8),
        "occlusion_probability": over,
        "depth": torch.where(other, relation, -1).to(torch.int8),
        "depth_probability": chance,
    }
    split = {name: layout.split(flat) for name, flat in values.items()}
    return [{name: split[name][k] for name in split} for k in range(len(layout.counts))]


def spread_orders(orders: dict[str, torch.Tensor], keep: torch.Tensor) -> dict[str, torch.Tensor]:
    """Expand order matrices of selected instances to matrices of all instances.

    Args:
        orders: result of `order_matrices` for the K selected instances.
        keep: bool (N,), the selection.

    Returns:
        Dict of (N, N, ...); pairs with an instance that was not selected are -1, 0, -1 and 0.
    """
    size = len(keep)
    pairs = keep[:, None] & keep[None, :]
    result = {}
    for name, values in orders.items():
        fill = -1 if values.dtype == torch.int8 else 0
        whole = values.new_full((size, size, *values.shape[2:]), fill)
        whole[pairs] = values.flatten(0, 1)
        result[name] = whole
    result["occlusion"].fill_diagonal_(0)
    return result
