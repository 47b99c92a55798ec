"""Arguments that several verbs share, and types of arguments. Standard library only."""

from __future__ import annotations

import argparse
import importlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

PANELS = (
    "image",
    "overlay",
    "occlusion",
    "occlusion_graph",
    "depth_graph",
    "relative_depth",
    "amodal",
    "layers",
    "levels",
    "boundary",
    "check",
)
"""Panels of a sheet, `occ_order.draw.image_panels.KINDS`."""


class Choices:
    """Choices that a module of the package knows, which is imported when they are asked for.

    Args:
        module: its dotted name.
        name: of the list, tuple or dictionary in it, or of a function that returns one.
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
    """Return the path of a file or folder that is there.

    Raises:
        argparse.ArgumentTypeError: it is not.
    """
    if not os.path.exists(text):
        raise argparse.ArgumentTypeError(f"{text}: no such file or folder")
    return text


def existing_path(text: str) -> Path:
    """Return what `existing` does, as a Path."""
    return Path(existing(text))


def at_least_one(text: str) -> int:
    """Return a positive whole number.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be a whole number of at least 1, got {text}")
    return int(text)


def named_file(text: str) -> tuple[str, Path]:
    """Return the two parts of NAME=FILE.

    Raises:
        argparse.ArgumentTypeError: one of them is missing, or the file is.
    """
    name, _, path = text.rpartition("=")
    if not name or not path:
        raise argparse.ArgumentTypeError(f"expected NAME=FILE, got {text!r}")
    return name, existing_path(path)


def zoo_model(text: str) -> str:
    """Return the name of a model of the zoo.

    Raises:
        argparse.ArgumentTypeError: there is none of that name.
    """
    names = importlib.import_module("occ_order.model_zoo").names()
    if text not in names:
        raise argparse.ArgumentTypeError(f"no model {text!r} in the zoo; it has {', '.join(names)}")
    return text


def detector(text: str) -> str:
    """Return the name or file of a detector.

    Raises:
        argparse.ArgumentTypeError: there is none of that name.
    """
    try:
        importlib.import_module("occ_order.detectors.sources").kind_of(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


def add_model_options(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add the options that name a model: of the zoo, or by its settings."""
    which = parser.add_mutually_exclusive_group(required=required)
    which.add_argument("--model", type=zoo_model, metavar="NAME", help="name in the model zoo")
    which.add_argument(
        "--config-file", type=existing, metavar="YAML", help="a model by its settings instead"
    )
    parser.add_argument(
        "--opts", nargs="+", default=[], metavar="KEY VALUE", help="settings, for --config-file"
    )


def add_backend_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what the models run on."""
    parser.add_argument("--device", default="cpu", help="cpu, cuda, cuda:1 ...")
    parser.add_argument(
        "--backend",
        choices=("auto", "onnx", "torch"),
        default="auto",
        help="onnx needs no PyTorch; auto: onnx where the model has a graph and it is installed",
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
    """Let a function say what is wrong with arguments that are right one by one.

    Args:
        parser: of a verb.
        check: takes the options; returns what is wrong, None where nothing is.
    """
    parser.set_defaults(check=check, parser=parser)


def add_format(
    parser: argparse.ArgumentParser, option: str, *, dest: str, required: bool, what: str
) -> None:
    """Add an option that takes the name of a format that can be read."""
    parser.add_argument(
        option,
        dest=dest,
        required=required,
        choices=Choices("occ_order.formats.table", "readable"),
        metavar="FORMAT",
        help=f"{what}: %(choices)s",
    )


def add_input_options(parser: argparse.ArgumentParser, *, required: bool = True) -> None:
    """Add the options that say what data set to read (`read_input` of the converters reads it)."""
    add_format(parser, "--from", dest="format", required=required, what="format to read")
    parser.add_argument(
        "--input", required=required, type=existing, metavar="PATH", help="its file or folder"
    )
    parser.add_argument(
        "--images", type=existing, metavar="DIR", help="images; default: beside the input"
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
    """Add the options by which entries are kept, or left out, that are otherwise not."""
    parser.add_argument(
        "--keep-crowds",
        action="store_true",
        help="coco, panoptic: also what has 'iscrowd' 1, which CVAT gives to masks of its brush",
    )
    parser.add_argument(
        "--skip-damaged",
        action="store_true",
        help="leave out entries that cannot be read, and say how many",
    )


def add_results_options(parser: argparse.ArgumentParser) -> None:
    """Add the options that say what results to read (`found_results` reads them)."""
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
    parser.add_argument("--gt", type=existing, metavar="PATH", help="annotation to compare with")
    add_format(parser, "--gt-format", dest="gt_format", required=False, what="its format")
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
    """Return what is wrong with the options of `add_results_options` together."""
    if (options.gt is None) != (options.gt_format is None):
        return "--gt and --gt-format belong together"
    return None


def add_panel_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of a verb that draws panels: which, in which colours, in which files."""

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
        help=f"which panels, of {','.join(PANELS)} (all that there are data for)",
    )
    parser.add_argument(
        "--boundary-colors",
        choices=("default", "oosis"),
        default="default",
        help="colours of the oriented boundary; oosis: those of the paper's figures",
    )
    parser.add_argument("--separate", action="store_true", help="a file for each panel")
