"""Staged training (section 4.6): GLM, then RPN, then ILM, each with what came before frozen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from torch import nn

PARTS: Mapping[str, tuple[str, ...]] = {
    "glm": ("backbone", "global_layering"),
    "rpn": ("layer_fusion", "proposal_generator"),
    "ilm": ("roi_heads",),
    "joint": ("backbone", "global_layering", "layer_fusion", "proposal_generator", "roi_heads"),
}
"""Stage -> the parts of the network that learn in it; the others are frozen."""


class Stages:
    """Which stage an iteration belongs to.

    Args:
        names: stages out of `PARTS`, in order.
        shares: share of all iterations that each of them takes.
        max_iter: iterations of the whole training.

    Raises:
        ValueError: an unknown stage, another number of shares, or shares that do not add up to 1.
    """

    def __init__(self, names: Sequence[str], shares: Sequence[float], max_iter: int) -> None:
        unknown = [name for name in names if name not in PARTS]
        if unknown or not names:
            raise ValueError(f"stages must be some of {sorted(PARTS)}, got {list(names)}")
        positive = all(share > 0 for share in shares)
        if len(shares) != len(names) or not positive or abs(sum(shares) - 1) > 1e-6:
            raise ValueError(
                f"stages {list(names)} need one positive share each, adding up to 1, "
                f"got {list(shares)}"
            )
        self.names = list(names)
        self.ends = [round(max_iter * sum(shares[: k + 1])) for k in range(len(names))]

    def at(self, iteration: int) -> str:
        """Return the name of the stage of an iteration; the last stage has no end."""
        later = (name for name, end in zip(self.names, self.ends, strict=True) if iteration < end)
        return next(later, self.names[-1])


class Freezer:
    """Freezes parts of a network and thaws them again.

    Frozen parameters take no gradient, and the parts keep the running statistics of their norms.
    Parameters that did not learn in the first place, like the stem of a pretrained backbone, stay
    frozen in every stage.

    Args:
        model: network whose children `PARTS` names; some may be None.
    """

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._learning = {name for name, p in model.named_parameters() if p.requires_grad}
        self.stage: str | None = None

    def enter(self, stage: str) -> None:
        """Let the parts of a stage learn and freeze all others."""
        self.stage = stage
        for name, parameter in self._model.named_parameters():
            learns = name in self._learning and name.split(".")[0] in PARTS[stage]
            parameter.requires_grad_(learns)
            if not learns:
                parameter.grad = None  # or the optimiser would apply the last one again
        self.rest()

    def rest(self) -> None:
        """Put frozen parts into evaluation mode and, if the network trains, the others back."""
        if self.stage is None:
            return
        for name, part in self._model.named_children():
            part.train(self._model.training and name in PARTS[self.stage])
