"""Reads `zoo.json` and checks files by their hash; needs no PyTorch."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from occ_order.files import parse_json, sha256_of

HERE = Path(__file__).resolve().parent
ZOO = HERE / "zoo.json"
ORDERS_MASKS = "mask_order_photos"
"""The model that orders given masks where none is named."""
FINDS_INSTANCES = "segmenter_photos"
"""The model that finds instances where neither masks, nor a detector, nor a model are named."""
COMPLETES_MASKS = "mask_completion_photos"
"""The model that tells the amodal masks of instances whose order is known."""

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
"""Keys of a row: `config` is a path below the folder configs, `checkpoint` one below `checkpoints`
here, `dataset` the command that makes the data, `command` what trains the model, `metrics`
{"task/metric": value} as `occ-order eval` gives them with this checkpoint."""
OPTIONAL_KEYS = ("graph", "graph_sha256", "trained_on", "expect", "score_threshold")
"""Of a model that predicts without PyTorch `graph`, an ONNX file below `checkpoints`, and its
sha256. For people `trained_on`, and `expect`: how well it does, where "{task/metric:.0f}" stands
for that one of its metrics. Of a detector `score_threshold`, the least score of what is kept."""


def rows(path: str | os.PathLike[str] = ZOO) -> list[dict[str, Any]]:
    """Every model of the zoo.

    Raises:
        ValueError: a row lacks a key or has an unknown one, or two rows share a name.
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
        raise ValueError(f"{path}: a name stands twice in {listed}")
    return found


def names() -> list[str]:
    """Return the names of all models."""
    return [entry["name"] for entry in rows()]


def row(name: str) -> dict[str, Any]:
    """One model's row.

    Raises:
        ValueError: there is no such model.
    """
    for entry in rows():
        if entry["name"] == name:
            return entry
    raise ValueError(f"the model zoo has no {name!r}; it has {', '.join(names()) or 'no model'}")


def introduce(name: str) -> str:
    """Return a model's name, what it was trained on and what to expect of it, as a phrase."""
    entry = row(name)
    said = [f"trained on {entry['trained_on']}"] if "trained_on" in entry else []
    if "expect" in entry:
        said.append(entry["expect"].format_map(entry["metrics"]))
    return f"{name} ({'; '.join(said)})" if said else name


def config_file(name: str) -> Path:
    """Return the YAML file of a model.

    Raises:
        FileNotFoundError: it is not installed.
    """
    return settings_file(row(name)["config"])


def settings_file(inside: str) -> Path:
    """Return a YAML file of the folder configs: in the installed package, or of a checkout.

    Args:
        inside: its path below the folder.

    Raises:
        FileNotFoundError: it is in neither.
    """
    for root in (HERE / "configs", HERE.parents[1] / "configs"):
        if (root / inside).is_file():
            return root / inside
    raise FileNotFoundError(f"the settings {inside} are not installed")


def checkpoint_file(name: str) -> Path:
    """Return the weights of a model.

    Raises:
        FileNotFoundError: they are not there.
        ValueError: the file is not the one that was measured.
    """
    entry = row(name)
    return _checked(name, entry["checkpoint"], entry["sha256"])


def graph_file(name: str) -> Path:
    """Return the ONNX file of a model.

    Raises:
        FileNotFoundError: it is not there.
        ValueError: the model has none, or the file is another one than the zoo's.
    """
    entry = row(name)
    if "graph" not in entry:
        able = [other["name"] for other in rows() if "graph" in other]
        raise ValueError(f"{name!r} needs PyTorch; without it there are {', '.join(able)}")
    return _checked(name, entry["graph"], entry["graph_sha256"])


def _checked(name: str, file: str, digest: str) -> Path:
    """Return a file below `checkpoints`, as long as it is the one that `zoo.json` names."""
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
