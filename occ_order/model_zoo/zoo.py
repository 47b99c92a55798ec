"""Access to `zoo.json` and verification of files by hash; does not need PyTorch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from occ_order.files import parse_json, sha256_of

HERE = Path(__file__).resolve().parent
ZOO = HERE / "zoo.json"
ORDERS_MASKS = "mask_order_photos"
"""Default model for the order of input masks."""
FINDS_INSTANCES = "segmenter_photos"
"""Default model for instance segmentation."""
COMPLETES_MASKS = "mask_completion_photos"
"""Default model for amodal masks of instances with known order."""

ROW_KEYS = (
    "name",
    "config",
    "checkpoint",
    "sha256",
    "dataset",
    "scene_seed",
    "train_minutes",
    "device",
    "command",
    "metrics",
)
"""Keys of a row: `config` is a path in the folder configs, `checkpoint` one in `checkpoints` here,
`dataset` the command that creates the data, `command` the one that trains the model, `metrics`
{"task/metric": value} the results of `occ-order eval` with this checkpoint."""
OPTIONAL_KEYS = ("graph", "graph_sha256", "trained_on", "expect", "score_threshold")
"""Optional keys: `graph`, an ONNX file in `checkpoints` for prediction without PyTorch, and its
sha256; `trained_on` and `expect`, descriptions of training data and expected accuracy, in which
"{task/metric:.0f}" is replaced by that metric; `score_threshold`, the default of a detector."""


def rows(path: str | os.PathLike[str] = ZOO) -> list[dict[str, Any]]:
    """Return all models of the zoo.

    Raises:
        ValueError: missing or unknown key in a row, or duplicate name.
    """
    found = parse_json(path)
    for entry in found:
        if set(entry) - set(OPTIONAL_KEYS) != set(ROW_KEYS):
            raise ValueError(
                f"{path}: row {entry.get('name')!r} has the keys {sorted(entry)}, expected "
                f"{sorted(ROW_KEYS)}"
            )
    listed = [entry["name"] for entry in found]
    if len(set(listed)) != len(listed):
        raise ValueError(f"{path}: duplicate name in {listed}")
    return found


def names() -> list[str]:
    """Return the names of all models."""
    return [entry["name"] for entry in rows()]


def row(name: str) -> dict[str, Any]:
    """Return the row of a model.

    Raises:
        ValueError: unknown model.
    """
    for entry in rows():
        if entry["name"] == name:
            return entry
    raise ValueError(f"the model zoo has no {name!r}; it has {', '.join(names()) or 'no model'}")


def introduce(name: str) -> str:
    """Describe a model in a phrase: its name, training data and expected accuracy."""
    entry = row(name)
    said = [f"trained on {entry['trained_on']}"] if "trained_on" in entry else []
    if "expect" in entry:
        said.append(entry["expect"].format_map(entry["metrics"]))
    return f"{name} ({'; '.join(said)})" if said else name


def config_file(name: str) -> Path:
    """Return the config file of a model.

    Raises:
        FileNotFoundError: it is not installed.
    """
    return settings_file(row(name)["config"])


def settings_file(inside: str) -> Path:
    """Return a YAML file of the folder configs, from the installed package or a checkout.

    Args:
        inside: path in the folder.

    Raises:
        FileNotFoundError: the file is in neither.
    """
    for root in (HERE / "configs", HERE.parents[1] / "configs"):
        if (root / inside).is_file():
            return root / inside
    raise FileNotFoundError(f"the config {inside} is not installed")


def checkpoint_file(name: str) -> Path:
    """Return the checkpoint of a model.

    Raises:
        FileNotFoundError: it is not installed.
        ValueError: the file differs from that of the zoo.
    """
    entry = row(name)
    return _checked(name, entry["checkpoint"], entry["sha256"])


def graph_file(name: str) -> Path:
    """Return the ONNX file of a model.

    Raises:
        FileNotFoundError: it is not installed.
        ValueError: the model has none, or the file differs from that of the zoo.
    """
    entry = row(name)
    if "graph" not in entry:
        able = [other["name"] for other in rows() if "graph" in other]
        raise ValueError(f"{name!r} needs PyTorch; without it there are {', '.join(able)}")
    return _checked(name, entry["graph"], entry["graph_sha256"])


def _checked(name: str, file: str, digest: str) -> Path:
    """Return a file in `checkpoints` if its hash is that in `zoo.json`."""
    path = HERE / "checkpoints" / file
    if not path.is_file():
        raise FileNotFoundError(f"{path} of model {name!r} is not installed")
    found = sha256_of(path)
    if found != digest:
        raise ValueError(
            f"{path}: sha256 is {found}, zoo.json says {digest}: the file is damaged or of another "
            "version"
        )
    return path
