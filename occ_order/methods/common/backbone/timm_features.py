"""Multi-scale feature maps of any convolutional network of timm.

timm (PyTorch Image Models) has about a thousand networks, many with ImageNet weights. It is
imported when the first network is built.

Levels are named as in a ResNet: `res{k}` has stride 2**k without dilation, so res1 to res5 have the
strides 2, 4, 8, 16 and 32.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

NORMS = ("BN", "FrozenBN")
IMAGE_CHANNELS = 3  # of the pretrained networks


class TimmFeatures(nn.Module):
    """A network of timm without its classifier.

    Weights have timm's names and are initialised at random; `pretrained` adapts pretrained weights
    of the same network.

    Args:
        name: name of the network in timm, such as "tf_efficientnet_lite0" or "resnet18".
        out_features: levels to return; later layers are removed.
        in_channels: input channels. The weights of channels beyond the three of an image (such as
            masks) are initialised to zero, so that they do not change pretrained features.
        output_stride: maximum stride (8, 16 or 32); larger strides are replaced by dilation, if
            timm supports it.
        freeze_at: k freezes all layers up to level res{k}, with batch norms in evaluation mode; 0
            freezes nothing.
        norm: "BN" trains the batch norms, "FrozenBN" freezes all of them.

    Attributes:
        channels: level -> channels.
        strides: level -> stride, dilation included.

    Raises:
        ImportError: timm is not installed.
        ValueError: an unknown network, level, norm, number of channels or stage to freeze; a
            network whose levels do not double their strides (a plain vision transformer), or that
            timm cannot dilate.
    """

    def __init__(
        self,
        name: str,
        *,
        out_features: Sequence[str] = ("res2", "res3", "res4", "res5"),
        in_channels: int = IMAGE_CHANNELS,
        output_stride: int = 32,
        freeze_at: int = 0,
        norm: str = "BN",
    ) -> None:
        super().__init__()
        if norm not in NORMS or in_channels < 1:
            raise ValueError(
                f"{name}: norm must be one of {NORMS} and in_channels at least 1, got {norm!r} "
                f"and {in_channels}"
            )
        self.name = name
        levels = _levels(_create(name, output_stride=output_stride, device="meta"), name)
        chosen = _chosen(list(levels), out_features, name)
        net = _create(name, chosen, in_channels=in_channels, output_stride=output_stride)
        self.channels = {level: levels[level]["num_chs"] for level in out_features}
        self.strides = {level: levels[level]["reduction"] for level in out_features}
        self._returned = [level for level in levels if level in out_features]
        self._channels_last = getattr(net, "output_fmt", "NCHW") == "NHWC"
        _drop_unused(net, levels[self._returned[-1]]["module"])
        first = _first_convolution(net)
        if in_channels > IMAGE_CHANNELS:
            nn.init.zeros_(first.weight[:, IMAGE_CHANNELS:])
        if freeze_at:
            _freeze_up_to(net, levels, f"res{freeze_at}", name)
        if norm == "FrozenBN":
            _timm().layers.freeze_batch_norm_2d(net)
        # Register timm's submodules as this module's own, so that the weights keep timm's names.
        # The network itself is kept in a tuple: as a submodule it would add a prefix to all names.
        self._net = (net,)
        self._modules = net._modules

    def forward(self, images: Tensor) -> dict[str, Tensor]:
        """Compute the feature maps.

        Args:
            images: (N, in_channels, H, W) float, normalised as for the pretrained weights.

        Returns:
            Level -> (N, channels, H', W') float with H' = ceil(H / stride).
        """
        maps = self._net[0](images)
        if self._channels_last:
            maps = [each.permute(0, 3, 1, 2) for each in maps]
        return dict(zip(self._returned, maps, strict=True))

    def train(self, mode: bool = True) -> TimmFeatures:
        """Set the training mode, also of timm's network, which is not a submodule."""
        self._net[0].training = mode
        return super().train(mode)

    def pretrained(self, weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Adapt pretrained weights of the same network, for three input channels, to this module.

        Args:
            weights: state dict of timm's full network; the classifier and later levels are ignored.

        Returns:
            State dict for this module, with zeros for additional input channels.

        Raises:
            ValueError: a weight is missing or of another shape.
        """
        own = self.state_dict()
        stem = next(name for name, part in self.named_modules() if part is _first_convolution(self))
        # timm's feature networks flatten top-level Sequentials: "stages.0" becomes "stages_0".
        named = {n if n in own else n.replace(".", "_", 1): value for n, value in weights.items()}
        fitted = {name: value for name, value in named.items() if name in own}
        first = f"{stem}.weight"
        if first in fitted:
            fitted[first] = _widened(fitted[first], own[first].shape[1])
        wrong = [
            f"{name}: {tuple(fitted[name].shape) if name in fitted else 'missing'}, "
            f"expected {tuple(tensor.shape)}"
            for name, tensor in own.items()
            if not name.endswith("num_batches_tracked")
            and (name not in fitted or fitted[name].shape != tensor.shape)
        ]
        if wrong:
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise ValueError(f"no weights of {self.name}: {'; '.join(wrong[:3])}{more}")
        return fitted


def download(name: str) -> dict[str, Tensor]:
    """Return the pretrained state dict of a network, including its classifier.

    Args:
        name: name of the network in timm, with a tag (".TAG") if there are several weights.

    Raises:
        ImportError: timm is not installed.
        OSError: the weights are not cached and cannot be downloaded.
        ValueError: timm has no weights for such a network.
    """
    timm = _timm()
    if not timm.is_model(name) or not timm.models.is_model_pretrained(name):
        raise ValueError(f"timm has no weights for {name!r}")
    try:
        return timm.create_model(name, pretrained=True).state_dict()
    except Exception as error:  # depends on the library that timm downloads with
        where = timm.get_pretrained_cfg(name).hf_hub_id
        raise OSError(
            f"timm cannot get the weights of {name} ({type(error).__name__}); without a network, "
            f"copy the file of {where} from the Hugging Face Hub and name it as timm:FILE"
        ) from error


def _timm() -> Any:
    try:
        import timm
    except ImportError as error:
        raise ImportError("this backbone is a network of timm: pip install timm") from error
    return timm


def _create(
    name: str,
    indices: Sequence[int] | None = None,
    *,
    in_channels: int = IMAGE_CHANNELS,
    output_stride: int = 32,
    **more: Any,
) -> nn.Module:
    """Build timm's feature network with the levels `indices`; None = all levels."""
    timm = _timm()
    if not timm.is_model(name):
        raise ValueError(f"timm has no network {name!r}")
    if output_stride != 32:
        more["output_stride"] = output_stride
    if indices is not None:
        more["out_indices"] = tuple(indices)
    try:
        return timm.create_model(name, features_only=True, in_chans=in_channels, **more)
    except (AssertionError, TypeError) as error:  # raised by networks without dilation
        raise ValueError(
            f"timm makes no {name} with output stride {output_stride} ({error})"
        ) from error


def _levels(net: nn.Module, name: str) -> dict[str, dict[str, Any]]:
    """Return timm's description of each level by name, in the order of computation.

    Raises:
        ValueError: the strides do not double from level to level, up to the maximum.
    """
    infos = net.feature_info.get_dicts()
    strides = [info["reduction"] for info in infos]
    most = strides[-1]
    expected = [min(strides[0] * 2**k, most) for k in range(len(strides))]
    first = int(math.log2(strides[0]))
    if strides != expected or 2**first != strides[0] or strides[0] == most:
        raise ValueError(f"{name}: its levels have the strides {strides}, which do not double")
    return {f"res{first + k}": info for k, info in enumerate(infos)}


def _chosen(levels: Sequence[str], out_features: Sequence[str], name: str) -> list[int]:
    """Return the indices of `out_features` in `levels`, in the order of computation."""
    unknown = [level for level in out_features if level not in levels]
    if unknown or not out_features:
        raise ValueError(
            f"{name}: out_features must be some of {list(levels)}, got {list(out_features)}"
        )
    return [k for k, level in enumerate(levels) if level in out_features]


def _drop_unused(net: nn.Module, last: str) -> None:
    """Remove the blocks after the last level, which timm's EfficientNets keep."""
    if isinstance(getattr(net, "blocks", None), nn.Sequential):
        stage = last.removeprefix("blocks.").split(".")[0]
        net.blocks = net.blocks[: int(stage) + 1 if last.startswith("blocks.") else 0]


def _first_convolution(net: nn.Module) -> nn.Conv2d:
    return next(part for part in net.modules() if isinstance(part, nn.Conv2d))


def _freeze_up_to(
    net: nn.Module, levels: Mapping[str, dict[str, Any]], level: str, name: str
) -> None:
    """Freeze all modules up to a level.

    This relies on timm registering the modules of feature networks in the order of computation.
    """
    parts = [part for part, _ in net.named_modules() if part]
    last = levels[level]["module"] if level in levels else None
    if last not in parts and last is not None:
        last = last.replace(".", "_", 1)  # flattened, see above
    inside = [k for k, part in enumerate(parts) if f"{part}.".startswith(f"{last}.")]
    if not inside:
        raise ValueError(f"{name}: cannot freeze up to {level}; its levels are {list(levels)}")
    for part in parts[: inside[-1] + 1]:
        module = net.get_submodule(part)
        if next(module.parameters(recurse=False), None) is not None:
            _timm().utils.freeze(net, part)


def _widened(weight: Tensor, channels: int) -> Tensor:
    """Append zeros for additional input channels to convolution weights (out, in, kH, kW)."""
    missing = channels - weight.shape[1]
    if missing <= 0:
        return weight
    zeros = weight.new_zeros(weight.shape[0], missing, *weight.shape[2:])
    return torch.cat([weight, zeros], dim=1)
