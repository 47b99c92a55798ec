"""Validation of untrusted config files: no code execution, remote access or excessive size."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import yaml

from occ_order.files import read_bytes

BASE = "_BASE_"
"""Key of the base config file (or files)."""

PICKLED = (
    "MODEL.LOAD_PROPOSALS",
    "DATASETS.PROPOSAL_FILES_TRAIN",
    "DATASETS.PROPOSAL_FILES_TEST",
)
"""Keys of Detectron2 with which its data loader downloads and unpickles files."""

ZOO = "detectron2://"
"""URL scheme of Detectron2's model zoo, which config files may use."""

WANDB = "LOGGING.WANDB_PROJECT"
"""Key with which a run sends its scores to Weights & Biases; only the command line may set it."""

MAX_VALUES = 100_000
"""Maximum number of values in a config file with aliases expanded; a full config has about 700."""

SCHEMES = (ZOO, "https://", "http://")
"""Allowed URL schemes of weights."""


def check_config_file(path: str | os.PathLike[str]) -> list[str]:
    """Check that a config file and all its base files can be loaded safely.

    Args:
        path: a YAML file.

    Returns:
        The checked files, `path` first.

    Raises:
        ValueError: names the file. It does not exist or is not YAML, has a tag (which could execute
            code) or aliases that expand to more than `MAX_VALUES` values, is not a mapping, or has
            a `_BASE_` that does not exist, is circular, or is a URL.
    """
    return _check(os.fspath(path), ())


def _check(path: str, above: Sequence[str]) -> list[str]:
    real = os.path.realpath(path)
    if real in map(os.path.realpath, above):
        raise ValueError(f"{above[0]}: {BASE} is circular: {' -> '.join([*above, path])}")
    seen = [path]
    for base in _bases(_read(path, above), path):
        seen += _check(base, (*above, path))
    return seen


def _read(path: str, above: Sequence[str]) -> dict[str, Any]:
    if not os.path.isfile(path):
        named = f"{above[-1]}: {BASE} names a file that does not exist" if above else "no such file"
        raise ValueError(f"{named}: {path}")
    return read_yaml(path)


def read_yaml(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Read a YAML file whose top level is a mapping.

    Raises:
        ValueError: names the file. It is not YAML, has a tag (which could execute code) or aliases
            that expand to more than `MAX_VALUES` values, or is not a mapping.
        OSError: the file cannot be read.
    """
    path = os.fspath(path)
    try:
        data = yaml.safe_load(read_bytes(path).decode("utf-8"))
    except yaml.constructor.ConstructorError as error:
        raise ValueError(f"{path}: YAML tags can run code and are rejected ({error})") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not a YAML file ({error})") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: must contain KEY: value, got {type(data).__name__}")
    if _count(data, {}) > MAX_VALUES:
        raise ValueError(f"{path}: its aliases expand to more than {MAX_VALUES:,} values")
    return data


def _count(value: Any, known: dict[int, int]) -> int:
    """Count the values in a YAML value with aliases expanded."""
    if not isinstance(value, dict | list | tuple | set):
        return 1
    if id(value) not in known:
        known[id(value)] = MAX_VALUES + 1  # its own count inside itself
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(value)]


def _bases(data: dict[str, Any], path: str) -> list[str]:
    """Return the paths of the base files of a config, resolved as in fvcore."""
    named = data.get(BASE, [])
    bases = [named] if isinstance(named, str) else named
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ValueError(f"{path}: {BASE} must be a file name or a list of them, got {named!r}")
    for base in bases:
        if "://" in base:
            raise ValueError(f"{path}: {BASE} must be a local file, got {base!r}")
    folder = os.path.dirname(path)
    return [os.path.join(folder, os.path.expanduser(base)) for base in bases]


def check_settings(cfg: Mapping[str, Any]) -> None:
    """Reject values that would execute code or write to arbitrary files, from any source.

    Precomputed proposals are pickles, which can execute any command when loaded. A URL with ".."
    would be downloaded to a file outside the download folder.

    Args:
        cfg: a complete config.

    Raises:
        ValueError: names the key and its value.
    """
    settings = dict(leaves(cfg))
    for key in PICKLED:
        if settings.get(key):
            raise ValueError(
                f"{key} is {settings[key]!r}: precomputed proposals are pickles, which can run any "
                "command when they are loaded, so they are not supported"
            )
    for key, value in settings.items():
        for text in _addresses(value):
            check_address(text, key)


def check_address(text: str, name: str) -> None:
    """Validate a URL of weights.

    Args:
        text: a text with "://".
        name: name of the key, for error messages.

    Raises:
        ValueError: a scheme other than http, https and detectron2, or ".." in the path.
    """
    if not text.startswith(SCHEMES):
        raise ValueError(f"{name}: an address must begin with one of {SCHEMES}, got {text!r}")
    if ".." in unquote(text).replace("\\", "/").split("/"):
        raise ValueError(f"{name}: an address must not have '..' in its path, got {text!r}")


def check_sources(cfg: Mapping[str, Any], opts: Sequence[Any]) -> None:
    """Reject URLs that are in a config file but not on the command line.

    Thus loading an untrusted config contacts no host except that of Detectron2's model zoo.

    Args:
        cfg: a complete config, with `opts` merged.
        opts: KEY VALUE KEY VALUE ... of the command line.

    Raises:
        ValueError: names the key and the URL.
    """
    given = [str(value) for value in opts]
    for key, value in leaves(cfg):
        for text in _addresses(value):
            if not text.startswith(ZOO) and not any(text in option for option in given):
                raise ValueError(
                    f"{key}: a config file may only use files and {ZOO} URLs, got {text!r}; "
                    f"if you trust the URL, pass it on the command line: {key} {text}"
                )


def leaves(node: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield all keys of a config, or of a part of it, with full names and values."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _addresses(value: Any) -> Iterator[str]:
    """Yield the URLs in a value, which may be a nested list."""
    if isinstance(value, str):
        if "://" in value:
            yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _addresses(item)
