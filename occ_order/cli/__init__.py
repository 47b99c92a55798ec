"""The command `occ-order`: one parser, whose verbs are modules of this package.

Every verb has a module here that defines its arguments and names the module of
:mod:`occ_order.commands` that does the work. Only the standard library is imported until the
arguments are known to be right, so that help and errors come at once.
"""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import warnings
from collections.abc import Sequence
from typing import NoReturn

from occ_order import __version__

VERBS = {
    "predict": "order the instances of your own images and videos",
    "train": "train a network",
    "eval": "evaluate a network on data sets",
    "score": "score an order_results.json against ground truth, without a model",
    "convert": "convert a data set from one annotation format to another",
    "validate": "say what is wrong with a data file, entry by entry",
    "annotate": "ask people for the order of two instances, on a page of this machine",
    "app": "serve a page to drop a photograph on",
    "view": "write a page to look through results in a browser",
    "report": "draw results, data sets and curves as images",
    "export": "write a network as a PyTorch program and ONNX",
    "zoo": "list, check and extend the model zoo",
    "scenes": "write generated scenes in the formats of the real data sets",
    "compose": "compose photographs out of objects cut from your own",
    "stats": "count instances, pairs and orders of a data set",
    "bench": "measure speed and memory, and train models side by side",
}
"""Verb -> what it does, in the order of the help."""

INTERRUPTED = 130
"""Exit status after Ctrl+C, as shells have it."""

SHELLS = ("bash", "zsh", "tcsh")


class Parser(argparse.ArgumentParser):
    """A parser that answers a wrong command line with one line."""

    def error(self, message: str) -> NoReturn:
        """Print what is wrong and end with status 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def verb_parser(verb: str) -> argparse.ArgumentParser:
    """Return the parser of one verb, complete.

    Args:
        verb: one of `VERBS`.
    """
    return build_parser([verb])[1][verb]


def build_parser(
    verbs: Sequence[str] = tuple(VERBS),
) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Return the parser of the command and those of its verbs.

    Args:
        verbs: those whose arguments are wanted; the others know their names alone.

    Returns:
        The parser; verb -> parser of all verbs.
    """
    parser = Parser(
        prog="occ-order",
        description="Which instances are in a photograph, who occludes whom, and who is nearer.",
        epilog="occ-order VERB --help tells the arguments of a verb.",
    )
    parser.add_argument("--version", action="version", version=f"occ-order {__version__}")
    parser.add_argument(
        "--print-completion",
        choices=SHELLS,
        help="print the completion of these commands for a shell, and stop",
    )
    places = parser.add_subparsers(metavar="VERB", dest="verb", title="verbs")
    found: dict[str, argparse.ArgumentParser] = {}
    for verb, what in VERBS.items():
        found[verb] = places.add_parser(
            verb, help=what, formatter_class=argparse.RawDescriptionHelpFormatter
        )
        if verb in verbs:
            module = importlib.import_module(f"occ_order.cli.{verb}")
            found[verb].description = module.__doc__
            module.add_arguments(found[verb])
    return parser, found


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command.

    Args:
        arguments: as sys.argv[1:].

    Returns:
        The exit status: 0; 1 where something was found wrong or a part failed, as the verb says; 2
        where the arguments are wrong, or something cannot be read or written; INTERRUPTED.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    parser, _ = build_parser(given[:1])
    options = parser.parse_args(given)
    if options.print_completion:
        return print_completion(options.print_completion)
    if options.verb is None:
        parser.error("name a verb: " + ", ".join(VERBS))
    if problem := options.check(options) if "check" in options else None:
        options.parser.error(problem)
    _quiet()
    try:
        return importlib.import_module(options.work).run(options)
    except KeyboardInterrupt:
        print(f"occ-order {options.verb}: interrupted", file=sys.stderr)
        return INTERRUPTED
    except (ImportError, OSError, ValueError) as error:
        message = f"occ-order {options.verb}: error: {error}".encode("utf-8", "backslashreplace")
        print(message.decode("utf-8"), file=sys.stderr)
        return 2


def print_completion(shell: str) -> int:
    """Print a script that completes the commands in a shell.

    Raises:
        ImportError: shtab is not installed.
    """
    import shtab

    parser, _ = build_parser()
    print(shtab.complete(parser, shell=shell))
    return 0


def _quiet() -> None:
    """Keep warnings of other libraries from the user, who can do nothing about them."""
    if not sys.warnoptions and "PYTHONWARNINGS" not in os.environ:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("default", module="occ_order")
