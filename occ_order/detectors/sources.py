"""Kinds of detectors by name. Imports the standard library only, so that errors come at once."""

from __future__ import annotations

import os

from occ_order import model_zoo

PREFIXES = ("zoo", "torchvision", "detectron2")
"""Kinds written as "KIND:NAME"."""

CONFIG_ENDINGS = {".yaml": "yaml", ".yml": "yaml", ".py": "lazy"}
"""Extension of a configuration file, in lower case -> kind."""


def kind_of(source: str) -> tuple[str, str]:
    """Parse the name of a detector to its kind, a key of `ADAPTERS`, and its name or file.

    Args:
        source: a detector, see :mod:`occ_order.detectors`.

    Raises:
        ValueError: unknown detector.
    """
    prefix, _, rest = source.partition(":")
    if prefix in PREFIXES and (rest or prefix == "torchvision"):
        if prefix == "zoo":
            model_zoo.row(rest)
        return prefix, rest
    if source in model_zoo.names():
        return "zoo", source
    if not os.path.exists(source):
        raise ValueError(
            f"no detector {source!r}: there is no such file, and it is neither torchvision[:NAME], "
            f"detectron2:CONFIG nor of the model zoo, which has {', '.join(model_zoo.names())}"
        )
    return CONFIG_ENDINGS.get(os.path.splitext(source)[1].lower(), "file"), source
