"""The command `occ-order`: its parser, with one module of this package per subcommand (verb).

The module of a verb defines its arguments and names the module of :mod:`occ_order.commands` that
implements it. Only the standard library is imported until the arguments are parsed, so that help
and errors are shown without delay.
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
    "predict": "predict the occlusion and depth order of instances in images and videos",
    "train": "train a network",
    "eval": "evaluate a network on data sets",
    "score": "score an order_results.json against ground truth, without a model",
    "convert": "convert a data set from one annotation format to another",
    "validate": "check a data file and list its errors, entry by entry",
    "annotate": "annotate the order of pairs of instances on a local web page",
    "app": "serve a local web page to predict the order of instances in photographs",
    "view": "write an HTML viewer of results",
    "report": "draw results, data sets and curves as images",
    "export": "export a network as a PyTorch program and ONNX",
    "zoo": "list, check and extend the model zoo",
    "scenes": "write generated scenes in the formats of the real data sets",
    "compose": "compose images from objects cut out of photographs, with exact order",
    "stats": "print statistics of the instances, pairs and orders of a data set",
    "bench": "measure speed and memory, and compare trained models",
}
"""Verb -> help text, in the order of the help."""

INTERRUPTED = 130
"""Exit status after Ctrl+C: 128 + SIGINT, as in shells."""

SHELLS = ("bash", "zsh", "tcsh")


class Parser(argparse.ArgumentParser):
    """An argument parser that reports an error in one line, without the usage."""

    def error(self, message: str) -> NoReturn:
        """Print the error message and exit with status 2."""
        self.exit(2, f"{self.prog}: error: {message} (see {self.prog} --help)\n")


def verb_parser(verb: str) -> argparse.ArgumentParser:
    """Return the parser of one verb with all its arguments.

    Args:
        verb: one of `VERBS`.
    """
    return build_parser([verb])[1][verb]


def build_parser(
    verbs: Sequence[str] = tuple(VERBS),
) -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """Build the parser of the command and those of its verbs.

    Args:
        verbs: verbs whose arguments are added; the other parsers have only a name and help text.

    Returns:
        The parser; verb -> parser of all verbs.
    """
    parser = Parser(
        prog="occ-order",
        description="Which instances are in a photograph, who occludes whom, and who is nearer.",
        epilog="occ-order VERB --help lists the arguments of a verb.",
    )
    parser.add_argument("--version", action="version", version=f"occ-order {__version__}")
    parser.add_argument(
        "--print-completion",
        choices=SHELLS,
        help="print a completion script for a shell and exit",
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
        arguments: command line arguments; default: sys.argv[1:].

    Returns:
        Exit status: 0 on success; 1 if the verb found errors or failed for a part of the input; 2
        for invalid arguments, or a file that cannot be read or written; INTERRUPTED after Ctrl+C.
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
    # Before the work is imported: libraries read their variables when they are loaded.
    os.environ.update(options.environment if "environment" in options else {})
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
    """Print the completion script for a shell.

    Raises:
        ImportError: shtab is not installed.
    """
    import shtab

    parser, _ = build_parser()
    print(shtab.complete(parser, shell=shell))
    return 0


def _quiet() -> None:
    """Suppress warnings of other libraries, which are of no use to the user."""
    if not sys.warnoptions and "PYTHONWARNINGS" not in os.environ:
        warnings.simplefilter("ignore")
        warnings.filterwarnings("default", module="occ_order")
