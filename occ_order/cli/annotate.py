"""Annotate occlusion and depth orders on a local web page, as the InstaOrder data set was made.

    occ-order annotate --from coco --input instances.json --images photos --output asked
    occ-order annotate --from labelme --input my_folder --output asked --agree 1

The page shows an image with two touching instances and asks whether one occludes the other and
which is closer; alternatively, a whole image can be ordered at once. Several annotators answer,
each under a name; a pair is settled when two have given the same answer (--agree 1 for a single
annotator). --protocol instaorder asks about every pair, as for that data set. Files in OUTPUT:

    answers.jsonl    all answers, one per line, saved before the next question
    instaorder.json  settled orders in InstaOrder format, with the number of annotators asked
    instances.json   the COCO instances that it refers to
    order.csv        all pairs, settled or not, as a table (--from coco --order order.csv)
    agreement.json   inter-annotator agreement, number of annotators asked, seconds per answer

All but the first are written by the button "write files", when the program ends (Ctrl+C), and by
--write. Start it again with the same arguments to continue; run one program at a time per folder.
The page can be reached from this machine only.
"""

from __future__ import annotations

import argparse

from occ_order.apps.annotate.answers import TASKS
from occ_order.apps.annotate.protocol import PAIRS, PROTOCOLS, Protocol
from occ_order.cli.common import add_check, add_input_options, existing


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    add_input_options(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the answers")
    add_protocol_options(parser)
    parser.add_argument("--port", type=int, default=8321, help="0 takes any free port")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument("--write", action="store_true", help="only write the files, ask nothing")
    parser.set_defaults(work="occ_order.commands.annotate")
    add_check(parser, check_options)


def add_protocol_options(parser: argparse.ArgumentParser) -> None:
    """Add the options of the annotation protocol.

    An option that is not given is None, so that it does not override the chosen protocol.
    """
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="quick",
        help="annotation protocol, changed by the options below: touching pairs (quick, default), "
        "or that of InstaOrder (instaorder; needs --quiz)",
    )
    parser.add_argument(
        "--quiz",
        type=existing,
        metavar="FILE",
        help="answers.jsonl with correct answers; these pairs are asked first",
    )
    parser.add_argument(
        "--guesses",
        type=existing,
        metavar="FILE",
        help="order_results.json: predictions, shown as suggestions",
    )
    parser.add_argument("--tasks", choices=(*TASKS, "both"), help="what to ask (both)")
    parser.add_argument(
        "--ranges",
        action=argparse.BooleanOptionalAction,
        help="ask whether depth ranges are distinct or overlap, too (InstaOrder: yes)",
    )
    parser.add_argument("--pairs", choices=PAIRS, help="pairs to ask about (touching)")
    parser.add_argument(
        "--gap", type=int, metavar="PX", help=f"maximum gap of touching masks ({Protocol.gap})"
    )
    parser.add_argument(
        "--agree",
        type=int,
        metavar="N",
        help=f"number of equal answers that settle a pair ({Protocol.agree})",
    )
    parser.add_argument(
        "--min-size",
        type=int,
        metavar="PX",
        help="leave out instances of fewer than PX x PX pixels (0; InstaOrder: 25)",
    )
    parser.add_argument(
        "--max-instances",
        type=int,
        metavar="N",
        help=f"maximum instances per image, of more a random sample ({Protocol.max_instances})",
    )
    for name, words in (
        ("shuffle", "shuffle images and pairs for each annotator"),
        ("guideline", "show the guideline before the first question"),
        ("whole-image", "offer to order a whole image at once (not with --ranges)"),
    ):
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=words)
    parser.add_argument(
        "--quiz-share", type=float, metavar="S", help="share of the quiz to answer correctly (1)"
    )
    parser.add_argument("--seed", type=int, help="random seed (0)")


def check_options(options: argparse.Namespace) -> str | None:
    """Return an error message for an invalid combination of options, or None."""
    if options.protocol == "instaorder" and options.quiz is None:
        return "--protocol instaorder needs --quiz FILE: answers known to be right"
    return None
