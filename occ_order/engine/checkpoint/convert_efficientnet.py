"""Conversion of EfficientNet-Lite weights of the Python package efficientnet-lite-pytorch.

The package numbers blocks consecutively (`_blocks.7._expand_conv`), timm per stage
(`blocks.3.2.conv_pw`). The first block has no expansion.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping

from torch import Tensor

_TOP = {
    "_conv_stem": "conv_stem",
    "_bn0": "bn1",
    "_conv_head": "conv_head",
    "_bn1": "bn2",
    "_fc": "classifier",
}
_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
_BLOCK = re.compile(r"_blocks\.(\d+)\.(\w+)\.(\w+)")


def convert_efficientnet_lite(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Rename weights of EfficientNet-Lite to timm's names.

    Args:
        state_dict: state dict of `efficientnet_lite_pytorch.EfficientNet`.

    Returns:
        The same tensors under the names of timm's `tf_efficientnet_lite*`.

    Raises:
        ValueError: unknown name.
    """
    places = _places(state_dict)
    converted = {}
    for name, tensor in state_dict.items():
        found = _BLOCK.fullmatch(name)
        if found:
            number, part, rest = found.groups()
            expanded = f"_blocks.{number}._expand_conv.weight" in state_dict
            renamed = (_EXPANDED if expanded else _PLAIN).get(part)
            prefix = f"blocks.{places.get(number)}."
        else:
            part, _, rest = name.partition(".")
            renamed, prefix = _TOP.get(part), ""
        if renamed is None or not rest:
            raise ValueError(f"{name!r} is not a weight of EfficientNet-Lite")
        converted[f"{prefix}{renamed}.{rest}"] = tensor
    return converted


def _places(state_dict: Mapping[str, Tensor]) -> dict[str, str]:
    """Map the number of a block to "stage.block" in timm; stages differ in their channels."""
    channels = {
        int(found[1]): len(tensor)
        for name, tensor in state_dict.items()
        if (found := _BLOCK.fullmatch(name)) and name.endswith("._project_conv.weight")
    }
    blocks = itertools.groupby(sorted(channels), key=channels.get)
    return {
        str(block): f"{stage}.{inside}"
        for stage, (_, members) in enumerate(blocks)
        for inside, block in enumerate(members)
    }
