"""Shared arguments and argument types of the verbs. Imports nothing large."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from occ_order.panels import PANELS


class Choices:
    """Choices of an argument defined in another module, which is imported lazily.

    Args:
        module: dotted name of the module.
        name: name of a list, tuple or dictionary in it, or of a function that returns one.
    """

    def __init__(self, module: str, name: str) -> None:
        self._place = (module, name)

    def _values(self) -> Any:
        module, name = self._place
        found = getattr(importlib.import_module(module), name)
        return found() if callable(found) else found

    def __contains__(self, value: object) -> bool:
        return value in self._values()

    def __iter__(self) -> Iterator[str]:
        return iter(self._values())


def existing(text: str) -> str:
    """Argument type: path of an existing file or folder.

    Raises:
        argparse.ArgumentTypeError: it does not exist.
    """
    if not os.path.exists(text):
        raise argparse.ArgumentTypeError(f"{text}: no such file or folder")
    return text


def existing_path(text: str) -> Path:
    """Argument type: like `existing`, but a Path."""
    return Path(existing(text))


def at_least_one(text: str) -> int:
    """Argument type: positive integer.

    Raises:
        argparse.ArgumentTypeError: not a positive integer.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text}")
    return int(text)


def named_file(text: str) -> tuple[str, Path]:
    """Argument type: NAME=FILE, returned as (name, path).

    Raises:
        argparse.ArgumentTypeError: a part is missing, or the file does not exist.
    """
    name, _, path = text.rpartition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(f"expected NAME=FILE, got {text!r}")
    return name, existing_path(path)


def zoo_model(text: str) -> str:
    """Argument type: name of a model of the zoo.

    Raises:
        argparse.ArgumentTypeError: there is no model of that name.
    """
    names = importlib.import_module("occ_order.model_zoo").names()
    if text not in names:
        raise argparse.ArgumentTypeError(f"no model {text!r} in the zoo; it has {', '.join(names)}")
    return text


def detector(text: str) -> str:
    """Argument type: name or file of a detector.

    Raises:
        argparse.ArgumentTypeError: there is no detector of that name.
    """
    try:
        importlib.import_module("occ_order.detectors.sources").kind_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def add_model_options(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add the options that select a model, from the zoo or by its configuration."""
    which = parser.add_mutually_exclusive_group(required=required)
    which.add_argument("--model", type=zoo_model, metavar="NAME", help="name in the model zoo")
    which.add_argument(
        "--config-file", type=existing, metavar="YAML", help="configuration of a model instead"
    )
    parser.add_argument(
        "--opts", nargs="+", default=[], metavar="KEY VALUE", help="settings, for --config-file"
    )


def add_backend_options(parser: argparse.ArgumentParser) -> None:
    """Add the options for device and backend."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")
    parser.add_argument(
        "--backend",
        choices=("auto", "onnx", "torch"),
        default="auto",
        help="onnx needs no PyTorch; auto: ONNX Runtime if installed and the model has a graph",
    )


def shard(text: str) -> tuple[int, int]:
    """Return (I, N) of I/N: shard I of N, from 0.

    Raises:
        argparse.ArgumentTypeError: there is no such shard.
    """
    first, _, number = text.partition("/")
    if not (first.isdecimal() and number.isdecimal() and int(first) < int(number)):
        raise argparse.ArgumentTypeError(f"must be I/N with I from 0 to N - 1, got {text}")
    return int(first), int(number)


def add_engine_options(group: argparse._ArgumentGroup) -> None:
    """Add the options that spread the work over many machines."""
    group.add_argument(
        "--engine", choices=("ray",), help="spread the work over a Ray cluster, or this machine"
    )
    group.add_argument(
        "--address", metavar="HOST:PORT", help="of the Ray cluster; auto = the one of this machine"
    )
    group.add_argument(
        "--workers",
        type=at_least_one,
        metavar="N",
        help="at most; default: one for each CPU or GPU",
    )


def check_engine(options: argparse.Namespace) -> str | None:
    """Return what is wrong with the options of `add_engine_options` together."""
    if not options.engine and (options.address or options.workers):
        return "--address and --workers belong to --engine ray"
    return None


def add_check(
    parser: argparse.ArgumentParser, check: Callable[[argparse.Namespace], str | None]
) -> None:
    """Register a function that checks the combination of arguments.

    Args:
        parser: parser of a verb.
        check: takes the options; returns an error message, or None if they are valid.
    """
    parser.set_defaults(check=check, parser=parser)


def add_format(
    parser: argparse.ArgumentParser, option: str, *, dest: str, required: bool, what: str
) -> None:
    """Add an option for the name of a readable format."""
    parser.add_argument(
        option,
        dest=dest,
        required=required,
        choices=Choices("occ_order.formats.table", "readable"),
        metavar="FORMAT",
        help=f"{what}: %(choices)s",
    )


def add_input_options(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add the options of an input data set, for `occ_order.formats.command_line.read_input`."""
    add_format(parser, "--from", dest="format", required=required, what="format to read")
    parser.add_argument(
        "--input", required=required, type=existing, metavar="PATH", help="its file or folder"
    )
    parser.add_argument(
        "--images", type=existing, metavar="DIR", help="image folder; default: beside the input"
    )
    parser.add_argument(
        "--instances", type=existing, metavar="FILE", help="instaorder: the COCO instances file"
    )
    parser.add_argument(
        "--order", type=existing, metavar="FILE", help="coco: the order table (CSV)"
    )
    parser.add_argument(
        "--classes", metavar="A,B,...", help="class names in the order of their ids"
    )
    parser.add_argument(
        "--whole", action="store_true", help="labelme: shapes outline whole objects"
    )
    parser.add_argument(
        "--names-from",
        type=existing,
        metavar="FILE",
        help="results: COCO-style file with file names and classes",
    )
    add_tolerance_options(parser)


def add_tolerance_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that keep crowd regions or skip damaged entries."""
    parser.add_argument(
        "--keep-crowds",
        action="store_true",
        help="coco, panoptic: also read entries with 'iscrowd' 1, as CVAT marks brush masks",
    )
    parser.add_argument(
        "--skip-damaged",
        action="store_true",
        help="skip entries that cannot be read, and report their number",
    )


def add_results_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of input results, for `occ_order.formats.command_line.found_results`."""
    parser.add_argument(
        "--results",
        required=True,
        type=existing,
        metavar="PATH",
        help="order_results.json, or a folder with it",
    )
    parser.add_argument(
        "--images", required=True, type=existing, metavar="DIR", help="folder of the images"
    )
    parser.add_argument("--gt", type=existing, metavar="PATH", help="ground truth to compare with")
    add_format(parser, "--gt-format", dest="gt_format", required=False, what="format of --gt")
    parser.add_argument(
        "--instances", type=existing, metavar="FILE", help="instaorder: the COCO instances file"
    )
    parser.add_argument(
        "--names-from",
        type=existing,
        metavar="FILE",
        help="COCO-style file with file names and classes",
    )
    parser.add_argument("--limit", type=at_least_one, metavar="N", help="the first N images only")
    add_check(parser, check_results_options)


def check_results_options(options: argparse.Namespace) -> str | None:
    """Return an error message for an invalid combination of results options, or None."""
    if (options.gt is None) != (options.gt_format is None):
        return "--gt and --gt-format belong together"
    return None


def add_panel_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a verb that draws panels."""

    def chosen(text: str) -> tuple[str, ...]:
        words = tuple(text.split(","))
        if unknown := sorted(set(words) - set(PANELS)):
            raise argparse.ArgumentTypeError(f"no such panels: {', '.join(unknown)}")
        return words

    parser.add_argument(
        "--panels",
        type=chosen,
        default=PANELS,
        metavar="A,B,...",
        help=f"panels to draw, of {','.join(PANELS)} (default: all that the data allow)",
    )
    parser.add_argument(
        "--boundary-colors",
        choices=("default", "oosis"),
        default="default",
        help="colours of the oriented boundary; oosis: those of the paper's figures",
    )
    parser.add_argument("--separate", action="store_true", help="write one file per panel")
