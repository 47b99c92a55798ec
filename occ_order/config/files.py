"""Config files are other people's files: what may run code, reach out, or never end is refused."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import unquote

import yaml

from occ_order.files import read_bytes

BASE = "_BASE_"
"""Key of a config file that names the file (or files) it starts from."""

PICKLED = (
    "MODEL.LOAD_PROPOSALS",
    "DATASETS.PROPOSAL_FILES_TRAIN",
    "DATASETS.PROPOSAL_FILES_TEST",
)
"""Settings of Detectron2 by which its data loader downloads and unpickles files."""

ZOO = "detectron2://"
"""Address of Detectron2's own model zoo, which config files may name."""

MAX_VALUES = 100_000
"""Values that a config file may stand for; Detectron2's own with ours are some 700."""

SCHEMES = (ZOO, "https://", "http://")
"""How an address of weights may begin."""


def check_config_file(path: str | os.PathLike[str]) -> list[str]:
    """Refuse a config file that cannot be loaded safely, and so every file that it starts from.

    Args:
        path: a YAML file.

    Returns:
        The files that were looked at, `path` first.

    Raises:
        ValueError: names the file. It is missing or no YAML, has a tag (which could run code) or
            aliases that stand for more than `MAX_VALUES` values, is no mapping, or has a `_BASE_`
            that is missing, leads back to itself, or is an address instead of a file.
    """
    return _check(os.fspath(path), ())


def _check(path: str, above: Sequence[str]) -> list[str]:
    real = os.path.realpath(path)
    if real in map(os.path.realpath, above):
        raise ValueError(f"{above[0]}: {BASE} leads in a circle: {' -> '.join([*above, path])}")
    seen = [path]
    for base in _bases(_read(path, above), path):
        seen += _check(base, (*above, path))
    return seen


def _read(path: str, above: Sequence[str]) -> dict[str, Any]:
    if not os.path.isfile(path):
        named = f"{above[-1]}: {BASE} names a file that does not exist" if above else "no such file"
        raise ValueError(f"{named}: {path}")
    try:
        data = yaml.safe_load(read_bytes(path).decode("utf-8"))
    except yaml.constructor.ConstructorError as error:
        raise ValueError(f"{path}: YAML tags could run code and are refused ({error})") from error
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise ValueError(f"{path}: not a YAML file ({error})") from error
    if not isinstance(data, dict):
        raise ValueError(f"{path}: must hold settings (KEY: value), got {type(data).__name__}")
    if _count(data, {}) > MAX_VALUES:
        raise ValueError(f"{path}: its aliases stand for more than {MAX_VALUES:,} values")
    return data


def _count(value: Any, known: dict[int, int]) -> int:
    """How many values a YAML value stands for, an alias counted each time it is used."""
    if not isinstance(value, dict | list | tuple | set):
        return 1
    if id(value) not in known:
        known[id(value)] = MAX_VALUES + 1  # what it counts for inside itself
        parts = [*value, *value.values()] if isinstance(value, dict) else value
        known[id(value)] = 1 + sum(_count(part, known) for part in parts)
    return known[id(value)]


def _bases(data: dict[str, Any], path: str) -> list[str]:
    """Paths of the files that a config starts from, as fvcore finds them."""
    named = data.get(BASE, [])
    bases = [named] if isinstance(named, str) else named
    if not isinstance(bases, list) or not all(isinstance(base, str) for base in bases):
        raise ValueError(f"{path}: {BASE} must be a file name or a list of them, got {named!r}")
    for base in bases:
        if "://" in base:
            raise ValueError(f"{path}: {BASE} must be a file on this machine, got {base!r}")
    folder = os.path.dirname(path)
    return [os.path.join(folder, os.path.expanduser(base)) for base in bases]


def check_settings(cfg: Mapping[str, Any]) -> None:
    """Refuse settings that would run code or write anywhere, wherever they come from.

    Precomputed proposals are pickles, which can run any command when they are loaded. An address
    with ".." in it would be downloaded to a file outside the folder of downloads.

    Args:
        cfg: a whole configuration.

    Raises:
        ValueError: names the setting and its value.
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
    """Refuse an address that is not one of weights to download.

    Args:
        text: with "://" in it.
        name: of the setting, for the message.

    Raises:
        ValueError: another scheme than http, https and detectron2, or a ".." in the path.
    """
    if not text.startswith(SCHEMES):
        raise ValueError(f"{name}: an address must begin with one of {SCHEMES}, got {text!r}")
    if ".." in unquote(text).replace("\\", "/").split("/"):
        raise ValueError(f"{name}: an address must not have '..' in its path, got {text!r}")


def check_sources(cfg: Mapping[str, Any], opts: Sequence[Any]) -> None:
    """Refuse an address that a config file, and not the command line, names.

    So reading somebody's config reaches no other machine than that of Detectron2's model zoo.

    Args:
        cfg: a whole configuration, `opts` merged.
        opts: KEY VALUE KEY VALUE ... of the command line.

    Raises:
        ValueError: names the setting and the address.
    """
    given = [str(value) for value in opts]
    for key, value in leaves(cfg):
        for text in _addresses(value):
            if not text.startswith(ZOO) and not any(text in option for option in given):
                raise ValueError(
                    f"{key}: a config file may name files and {ZOO} addresses, got {text!r}; "
                    f"if you trust the address, give it on the command line: {key} {text}"
                )


def leaves(node: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, Any]]:
    """Yield every setting of a configuration, or of a part of it, with its full name."""
    for key, value in node.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def _addresses(value: Any) -> Iterator[str]:
    """Yield the texts in a setting, which may be nested lists, that are addresses."""
    if isinstance(value, str):
        if "://" in value:
            yield value
    elif isinstance(value, list | tuple):
        for item in value:
            yield from _addresses(item)
