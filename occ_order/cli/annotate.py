"""Ask people which of two instances is in front: a page on this machine, as InstaOrder was made.

    occ-order annotate --from coco --input instances.json --images photos --output asked
    occ-order annotate --from labelme --input my_folder --output asked --agree 1

The page shows an image with two instances that touch and asks whether one hides a part of the other
and which is closer; or it takes the order of a whole image at once. Several people answer, each
under a name; a pair is settled when two have said the same (--agree 1 for somebody alone).
--protocol instaorder asks about every pair as that data set was made. OUTPUT gets:

    answers.jsonl    every answer, one a line, safe on the disk before the next question
    instaorder.json  what is settled, in the layout of InstaOrder, with the number of people asked
    instances.json   the instances that it refers to
    order.csv        the same with what is not settled, as a table (--from coco --order order.csv)
    agreement.json   how well people agree, how many were asked, and how long an answer takes

All but the first are written by the button "write files", when the program ends (Ctrl+C), and by
--write alone. Start it again with the same arguments to go on; one program at a time for a folder.
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
    """Add the options that say how to ask.

    An option that is not given is None, so that it does not overrule the named protocol.
    """
    parser.add_argument(
        "--protocol",
        choices=PROTOCOLS,
        default="quick",
        help="rules of asking, which the options below change one by one: pairs that touch (quick, "
        "default), or as InstaOrder was made (instaorder; needs --quiz)",
    )
    parser.add_argument(
        "--quiz",
        type=existing,
        metavar="FILE",
        help="answers.jsonl with right answers, asked about first",
    )
    parser.add_argument(
        "--guesses",
        type=existing,
        metavar="FILE",
        help="order_results.json: first guesses, to be confirmed",
    )
    parser.add_argument("--tasks", choices=(*TASKS, "both"), help="what to ask (both)")
    parser.add_argument(
        "--ranges",
        action=argparse.BooleanOptionalAction,
        help="ask whether depth ranges are distinct or overlap, too (InstaOrder: yes)",
    )
    parser.add_argument("--pairs", choices=PAIRS, help="pairs to ask about (touching)")
    parser.add_argument(
        "--gap", type=int, metavar="PX", help=f"pixels between masks that touch ({Protocol.gap})"
    )
    parser.add_argument(
        "--agree",
        type=int,
        metavar="N",
        help=f"people who must say the same ({Protocol.agree})",
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
        help=f"of more instances in an image, so many drawn at random ({Protocol.max_instances})",
    )
    for name, words in (
        ("shuffle", "an order of images and pairs for each annotator"),
        ("guideline", "show the guideline before the first question"),
        ("whole-image", "offer to order a whole image at once (not with --ranges)"),
    ):
        parser.add_argument(f"--{name}", action=argparse.BooleanOptionalAction, help=words)
    parser.add_argument(
        "--quiz-share", type=float, metavar="S", help="share of the quiz that must be right (1)"
    )
    parser.add_argument("--seed", type=int, help="of everything drawn at random (0)")


def check_options(options: argparse.Namespace) -> str | None:
    """Return what is wrong with the options together: right answers cannot be made up."""
    if options.protocol == "instaorder" and options.quiz is None:
        return "--protocol instaorder needs --quiz FILE: answers known to be right"
    return None
