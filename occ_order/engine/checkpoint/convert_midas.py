"""Conversion of weights of MiDaS v2.1 and of the published InstaDepthNet.

`model-f6b98070.pt` contains the disparity network: `pretrained.layer1` to `layer4` (the encoder;
the first also contains convolution, normalisation and pooling) and `scratch` (the decoder). The
published InstaDepthNet adds a ResNet-50 for each order (`gdo_net`, or `do_net` and `oo_net`) and
the linear layers `fc`, or `depth_fc` and `occ_fc`, all with prefix `module.`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor

UNUSED = ("scratch.refinenet4.resConfUnit1.",)
"""Unused modules of the published network."""

_HEADS = {
    "gdo_net.": "heads.depth.",
    "do_net.": "heads.depth.",
    "oo_net.": "heads.occlusion.",
}
_LINEAR = {
    "fc.": "heads.depth.predictor.",
    "depth_fc.": "heads.depth.predictor.",
    "occ_fc.": "heads.occlusion.predictor.",
}
_OUTPUT = {"0": "0", "2": "1", "4": "2"}  # indices in the published Sequential -> indices here
_BLOCK = re.compile(r"layer([1-4])\.(\d+)\.(?:(conv|bn)([1-3])|downsample\.([01]))\.(.+)")
_STEM = {"conv1.": "stem.conv1.", "bn1.": "stem.conv1.norm."}
_FIRST_LAYER = {"layer1.0.": "conv1.", "layer1.1.": "bn1.", "layer1.4.": "layer1."}


def convert_midas(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename the weights of MiDaS v2.1 or of the published InstaDepthNet^d or ^{o,d}.

    Args:
        state_dict: the published one; a prefix `module.` is removed.

    Returns:
        The same tensors under the names of `occ_order.methods.instadepth.meta_arch.InstaDepthNet`,
        without unused weights.

    Raises:
        ValueError: unknown name, or no weights of a disparity network.
    """
    converted: dict[str, Tensor] = {}
    for name, tensor in state_dict.items():
        ours = _renamed(name.removeprefix("module."), state_dict)
        if ours is not None:
            converted[ours] = tensor
    if not any(name.startswith("disparity_net.encoder.") for name in converted):
        raise ValueError("no weights of a MiDaS encoder (pretrained.layer1 ...) among the names")
    return converted


def is_midas(state_dict: Mapping[str, Tensor]) -> bool:
    """Return whether the names are those of MiDaS v2.1 or of the published InstaDepthNet."""
    names = {name.removeprefix("module.") for name in state_dict}
    return any(name.startswith("pretrained.layer1.") for name in names) and any(
        name.startswith("scratch.output_conv.") for name in names
    )


def _renamed(name: str, state_dict: Mapping[str, Tensor]) -> str | None:
    """Return the new name of a weight; None for weights that are stored but unused."""
    if name.startswith(UNUSED):
        return None
    if name.startswith("pretrained."):
        return "disparity_net.encoder." + _resnet(name.removeprefix("pretrained."), nested=True)
    if name.startswith("scratch."):
        return "disparity_net." + _decoder(name.removeprefix("scratch."))
    for theirs, ours in _LINEAR.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    for theirs, ours in _HEADS.items():
        if name.startswith(theirs):
            return _head(name, theirs, ours, state_dict)
    raise ValueError(f"{name!r} is not a weight of MiDaS v2.1 or of InstaDepthNet")


def _head(name: str, theirs: str, ours: str, state_dict: Mapping[str, Tensor]) -> str | None:
    inner = name.removeprefix(theirs)
    nested = any(key.endswith(f"{theirs}layer1.0.weight") for key in state_dict)
    twice = nested and inner.startswith(("conv1.", "bn1."))  # also stored inside layer1
    if inner.startswith("fc.") or twice:
        return None
    return f"{ours}resnet.{_resnet(inner, nested=nested)}"


def _resnet(name: str, *, nested: bool) -> str:
    """Convert the name of a weight of torchvision's ResNet to Detectron2's."""
    if nested:  # layer1 contains convolution, normalisation, (ReLU, pooling) and the first stage
        for theirs, inner in _FIRST_LAYER.items():
            if name.startswith(theirs):
                name = inner + name.removeprefix(theirs)
                break
    for theirs, ours in _STEM.items():
        if name.startswith(theirs):
            return ours + name.removeprefix(theirs)
    found = _BLOCK.fullmatch(name)
    if found is None:
        raise ValueError(f"{name!r} is not a weight of a ResNet")
    layer, block, kind, number, shortcut, rest = found.groups()
    part = f"conv{number}" if kind else "shortcut"
    norm = ".norm" if kind == "bn" or shortcut == "1" else ""
    return f"res{int(layer) + 1}.{block}.{part}{norm}.{rest}"


def _decoder(name: str) -> str:
    """Return the new name of a weight of the published decoder."""
    if found := re.fullmatch(r"layer([1-4])_rn\.(.+)", name):
        return f"laterals.res{int(found[1]) + 1}.{found[2]}"
    if found := re.fullmatch(r"refinenet([1-4])\.resConfUnit([12])\.(.+)", name):
        unit = {"1": "skip_unit", "2": "unit"}[found[2]]
        return f"fusions.res{int(found[1]) + 1}.{unit}.{found[3]}"
    if found := re.fullmatch(r"output_conv\.([024])\.(.+)", name):
        return f"output.{_OUTPUT[found[1]]}.{found[2]}"
    raise ValueError(f"'scratch.{name}' is not a weight of MiDaS v2.1")
