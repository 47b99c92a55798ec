"""Classes of the pairwise networks, and conversion of their outputs to order matrices.

The input of a network is an *ordered* pair (first, second); its output is one of

* **occlusion**, two logits with a sigmoid each: [0] the second occludes the first, [1] the first
  occludes the second; both may be true (InstaOrderNet^o, Section 4.1);
* **depth**, three classes: 0 the first is closer, 1 the first is farther, 2 equal (^d);
* **relation**, three or four classes: 0 the second occludes the first, 1 the first occludes the
  second, 2 neither, 3 both (OrderNet and its extension, Section 5.1).

Order matrices are defined in `occ_order.order.encoding`. At test time every pair is predicted in
both directions and the two outputs are averaged, so swapping two instances transposes the result.
Shapes: P pairs, N instances.
"""

from __future__ import annotations

import torch

RELATIONS = {3: "second over first, first over second, neither", 4: "the same and each other"}


def occlusion_labels(occlusion: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """Return the targets of the occlusion logits.

    Args:
        occlusion: (N, N), 1 / 0 / -1.
        pairs: int64 (P, 2), first and second.

    Returns:
        float32 (P, 2), 1 / 0, or -1 = unknown.
    """
    first, second = pairs.unbind(1)
    return torch.stack([occlusion[second, first], occlusion[first, second]], dim=1).float()


def depth_labels(depth: torch.Tensor, pairs: torch.Tensor) -> torch.Tensor:
    """Return the target classes of the depth head.

    Args:
        depth: (N, N), 1 row closer / 0 farther / 2 equal / -1.
        pairs: int64 (P, 2).

    Returns:
        int64 (P,), 0 closer / 1 farther / 2 equal, or -1 = unknown.
    """
    values = depth[pairs[:, 0], pairs[:, 1]].long()
    return torch.where((values == 0) | (values == 1), 1 - values, values)


def relation_labels(
    occlusion: torch.Tensor, pairs: torch.Tensor, num_relations: int
) -> torch.Tensor:
    """Return the target classes of OrderNet.

    With three classes, a bidirectional pair is labelled "first occludes second" in both directions,
    as in the published sampling of matrix entries.

    Args:
        occlusion: (N, N), 1 / 0 / -1.
        pairs: int64 (P, 2).
        num_relations: 3 or 4.

    Returns:
        int64 (P,), or -1 if one of the two directions is unknown.
    """
    back, there = occlusion_labels(occlusion, pairs).long().unbind(1)
    both = 1 if num_relations == 3 else 3
    table = torch.tensor([[2, 0], [1, both]], device=pairs.device)  # [there][back]
    labels = table[there.clamp(min=0), back.clamp(min=0)]
    return torch.where((there < 0) | (back < 0), torch.full_like(labels, -1), labels)


def average_occlusion(logits: torch.Tensor) -> torch.Tensor:
    """Average the occlusion probabilities over both directions of each pair.

    Args:
        logits: float (2 P, 2), row ``P + k`` is pair k reversed.

    Returns:
        float (P, 2): P(first occludes second), P(second occludes first).
    """
    forward, backward = logits.sigmoid().unflatten(0, (2, -1))
    return (forward.flip(1) + backward) / 2


def average_depth(logits: torch.Tensor) -> torch.Tensor:
    """Average the depth probabilities over both directions of each pair.

    Args:
        logits: float (2 P, 3), row ``P + k`` is pair k reversed.

    Returns:
        float (P, 3): P(first is closer), P(farther), P(equal).
    """
    forward, backward = logits.softmax(1).unflatten(0, (2, -1))
    return (forward + backward[:, [1, 0, 2]]) / 2


def average_relation(logits: torch.Tensor) -> torch.Tensor:
    """Average the relation probabilities over both directions of each pair.

    Args:
        logits: float (2 P, 3 or 4), row ``P + k`` is pair k reversed.

    Returns:
        float (P, 3 or 4): P(first occludes second), P(second occludes first), P(neither) and, with
        four classes, P(both).
    """
    forward, backward = logits.softmax(1).unflatten(0, (2, -1))
    swapped = [1, 0, *range(2, logits.shape[1])]
    return (forward[:, swapped] + backward) / 2


def occlusion_matrices(
    probability: torch.Tensor, pairs: torch.Tensor, num_instances: int, *, threshold: float = 0.5
) -> tuple[torch.Tensor, torch.Tensor]:
    """Convert pairwise occlusion probabilities to the occlusion matrix of an image.

    Args:
        probability: float (P, 2), from `average_occlusion`.
        pairs: int64 (P, 2).
        num_instances: N.
        threshold: occlusion probability above which an instance occludes another.

    Returns:
        int8 (N, N), 0 for other pairs, and float32 (N, N), probability that the row occludes the
        column.
    """
    first, second = pairs.unbind(1)
    matrix = probability.new_zeros((num_instances, num_instances), dtype=torch.float32)
    matrix[first, second] = probability[:, 0].float()
    matrix[second, first] = probability[:, 1].float()
    return (matrix > threshold).to(torch.int8), matrix


def relation_matrices(
    probability: torch.Tensor, pairs: torch.Tensor, num_instances: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Convert relation probabilities (OrderNet) to the occlusion matrix of an image.

    The most probable relation is chosen; if both directions have exactly the same probability, as
    for identical masks, neither of them.

    Args:
        probability: float (P, 3 or 4), from `average_relation`.
        pairs: int64 (P, 2).
        num_instances: N.

    Returns:
        int8 (N, N), 0 for other pairs, and float32 (N, N): P(row occludes column), including
        mutual occlusion.
    """
    best = probability.argmax(1)
    tie = (best < 2) & (probability[:, 0] == probability[:, 1])
    rest = probability[:, 2:].argmax(1) + 2
    best = torch.where(tie, rest, best)
    first, second = pairs.unbind(1)
    occlusion = torch.zeros(
        (num_instances, num_instances), dtype=torch.int8, device=probability.device
    )
    occlusion[first, second] = ((best == 0) | (best == 3)).to(torch.int8)
    occlusion[second, first] = ((best == 1) | (best == 3)).to(torch.int8)
    mutual = probability[:, 3:].sum(1, keepdim=True)
    return occlusion, occlusion_matrices(probability[:, :2] + mutual, pairs, num_instances)[1]


def depth_matrices(
    probability: torch.Tensor, pairs: torch.Tensor, num_instances: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Convert depth probabilities to the depth matrix of an image.

    The most probable relation is chosen; if closer and farther have exactly the same probability,
    as for two identical masks, the depth is equal.

    Args:
        probability: float (P, 3), from `average_depth`.
        pairs: int64 (P, 2).
        num_instances: N.

    Returns:
        int8 (N, N), 1 row closer / 0 farther / 2 equal / -1 not predicted, and float32 (N, N, 3),
        probabilities [closer, farther, equal], zeros where not predicted.
    """
    best = probability.argmax(1)
    best = torch.where(probability[:, 0] == probability[:, 1], 2, best)
    values = torch.where(best == 2, best, 1 - best).to(torch.int8)
    first, second = pairs.unbind(1)
    shape = (num_instances, num_instances)
    depth = torch.full(shape, -1, dtype=torch.int8, device=probability.device)
    depth[first, second] = values
    depth[second, first] = torch.where(values == 2, values, 1 - values)
    matrix = probability.new_zeros((*shape, 3), dtype=torch.float32)
    matrix[first, second] = probability.float()
    matrix[second, first] = probability[:, [1, 0, 2]].float()
    return depth, matrix
