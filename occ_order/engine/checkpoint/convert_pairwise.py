"""Conversion of weights of the published InstaOrderNet, OrderNet and PCNet-M.

The files contain `step`, `state_dict` and `optimizer`; names have the prefix `module.`. Classifiers
are torchvision's ResNet-50 with a linear layer `fc`, or `fc_occ` and `fc_depth`; PCNet-M is the
UNet `inc`, `down1` to `down4`, `up1` to `up4`, `outc`. The three classes of a classifier may be the
depth of InstaOrderNet^d or the relation of OrderNet, which the file does not specify.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

_RESNET = re.compile(r"(?:conv1|bn1|layer[1-4])\..+")
_UNET = re.compile(r"(?:(inc)\.conv|(down)([1-4])\.mpconv\.1|(up)([1-4])\.conv|(outc))\.conv\.(.+)")
_HEADS = {"fc_occ": "occlusion", "fc_depth": "depth"}
_TASK_OF_SIZE = {2: "occlusion", 4: "relation"}


def convert_pairwise(
    state_dict: Mapping[str, Tensor], *, three_classes: str | None = None
) -> dict[str, Tensor]:
    """Rename published weights.

    Args:
        state_dict: the published one; a prefix `module.` is removed.
        three_classes: "depth" (InstaOrderNet^d) or "relation" (OrderNet), required for a
            classifier with three classes.

    Returns:
        The same tensors under the names of `PairwiseOrderNet` or `PCNetM`.

    Raises:
        ValueError: unknown name; three classes without `three_classes`.
    """
    names = {name.removeprefix("module."): tensor for name, tensor in state_dict.items()}
    rename = _unet_name if any(name.startswith("inc.") for name in names) else _resnet_name
    task = _task_of(names, three_classes)
    converted = {}
    for name, tensor in names.items():
        ours = rename(name, task)
        if ours is None:
            raise ValueError(f"{name!r} is not a weight of InstaOrderNet, OrderNet or PCNet-M")
        converted[ours] = tensor
    if not converted:
        raise ValueError("there are no weights")
    return converted


def _task_of(names: Mapping[str, Tensor], three_classes: str | None) -> str:
    """Return the task of the linear layer `fc`; "" without one."""
    if three_classes not in (None, "depth", "relation"):
        raise ValueError(f"three classes are 'depth' or 'relation', got {three_classes!r}")
    if "fc.weight" not in names:
        return ""
    size = len(names["fc.weight"])
    task = three_classes if size == 3 else _TASK_OF_SIZE.get(size)
    if task is None:
        known = "depth (InstaOrderNet^d) or the relation (OrderNet)"
        raise ValueError(
            f"the weights have three classes, which may be {known}: specify which"
            if size == 3
            else f"a classifier of pairs has 2, 3 or 4 classes, got {size}"
        )
    return task


def _resnet_name(name: str, task: str) -> str | None:
    head, _, rest = name.partition(".")
    if head == "fc" or head in _HEADS:
        return f"classifier.heads.{_HEADS.get(head, task)}.{rest}"
    return f"classifier.backbone.{name}" if _RESNET.fullmatch(name) else None


def _unet_name(name: str, task: str) -> str | None:
    found = _UNET.fullmatch(name)
    if found is None:
        return None
    first, down, down_number, up, up_number, _, rest = found.groups()
    if first:
        return f"net.first.{rest}"
    if down or up:
        return f"net.{down or up}.{int(down_number or up_number) - 1}.{rest}"
    return f"net.last.{rest}"
