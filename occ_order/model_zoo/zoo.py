"""Reads `zoo.json`, checks weights by their hash, builds models."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import torch
from detectron2.config import CfgNode
from detectron2.modeling import build_model
from torch import nn

import occ_order.methods.build  # noqa: F401  (fills Detectron2's registries)
from occ_order.config import check_settings, load_cfg
from occ_order.engine.checkpoint import OrderCheckpointer, as_half, write_checkpoint

HERE = Path(__file__).resolve().parent
ZOO = HERE / "zoo.json"
ORDERS_MASKS = "mask_order_photos"
"""The model that orders given masks where none is named."""
FINDS_INSTANCES = "oosis_mini_scenes"
"""The model that finds instances, and orders them, where none is named."""

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


def rows(path: str | os.PathLike[str] = ZOO) -> list[dict[str, Any]]:
    """Every model of the zoo.

    Raises:
        ValueError: a row lacks a key or has an unknown one, or two rows share a name.
    """
    found = json.loads(Path(path).read_text(encoding="utf-8"))
    for entry in found:
        if set(entry) != set(ROW_KEYS):
            raise ValueError(
                f"{path}: row {entry.get('name')!r} has the keys {sorted(entry)}, expected "
                f"{sorted(ROW_KEYS)}"
            )
    listed = [entry["name"] for entry in found]
    if len(set(listed)) != len(listed):
        raise ValueError(f"{path}: a name stands twice in {listed}")
    return found


def names() -> list[str]:
    """The names of all models."""
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
    """The weights of a model.

    Raises:
        FileNotFoundError: they are not there.
        ValueError: the file is not the one that was measured.
    """
    entry = row(name)
    path = HERE / "checkpoints" / entry["checkpoint"]
    if not path.is_file():
        raise FileNotFoundError(f"the weights {path} of model {name!r} are not installed")
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != entry["sha256"]:
        raise ValueError(
            f"{path}: sha256 is {found}, zoo.json says {entry['sha256']}: the file is damaged or "
            "of another version"
        )
    return path


def get_cfg(name: str, *, device: str = "cpu") -> CfgNode:
    """The settings of a model, with its weights and `device` in them; not frozen."""
    opts = ["MODEL.WEIGHTS", str(checkpoint_file(name)), "MODEL.DEVICE", device]
    return load_cfg(config_file(name), opts)


def get(name: str, *, device: str = "cpu") -> nn.Module:
    """A model with its weights, in evaluation mode.

    Raises:
        ValueError: there is no such model, or its weights are damaged.
    """
    return build(get_cfg(name, device=device))


def build(cfg: CfgNode) -> nn.Module:
    """The model of a configuration with MODEL.WEIGHTS in it, in evaluation mode.

    Raises:
        ValueError: a setting would run code, or the weights are not safe to load or do not fit.
    """
    check_settings(cfg)
    model = build_model(cfg)
    OrderCheckpointer(model, strict=True).load(cfg.MODEL.WEIGHTS)
    return model.eval()


def save_checkpoint(weights: dict[str, torch.Tensor], path: str | os.PathLike[str]) -> str:
    """Writes weights alone, floating-point ones as float16, to a small checkpoint.

    Args:
        weights: `model.state_dict()`.
        path: file to write; a checkpoint of Detectron2 ({"model": weights}).

    Returns:
        The sha256 of the file.

    Raises:
        ValueError: a weight is not finite or exceeds float16.
    """
    path = Path(path)
    write_checkpoint(path, {"model": as_half(weights)})
    return hashlib.sha256(path.read_bytes()).hexdigest()
