"""Ask people which of two instances is in front: a page on this machine, as InstaOrder was made.

    occ-order annotate --from coco --input instances.json --images photos --output asked
    occ-order annotate --from labelme --input my_folder --output asked --agree 1

The page shows an image with two instances marked and asks whether one hides a part of the other,
which is closer, and whether they overlap in depth. Several people answer, each under a name; a pair
is settled when two have said the same (--agree 1 for somebody alone). OUTPUT gets:

    answers.jsonl    every answer, one a line, safe on the disk before the next question
    instaorder.json  what is settled, in the layout of InstaOrder, with the number of people asked
    instances.json   the instances that it refers to

The latter two are written by the button "write files", when the program ends (Ctrl+C), and by
--write alone. Start it again with the same arguments to go on; one program at a time for a folder.
The page can be reached from this machine only.
"""

from __future__ import annotations

import argparse

from occ_order.cli.common import add_input_options


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of the verb."""
    add_input_options(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the answers")
    parser.add_argument(
        "--agree", type=int, default=2, metavar="N", help="people who must say the same (2)"
    )
    parser.add_argument(
        "--max-instances",
        type=int,
        default=10,  # InstaOrder, Section 3.3
        metavar="N",
        help="of more instances in an image, so many drawn at random (10)",
    )
    parser.add_argument("--seed", type=int, default=0, help="of that draw")
    parser.add_argument("--port", type=int, default=8321, help="0 takes any free port")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument("--write", action="store_true", help="only write the files, ask nothing")
    parser.set_defaults(work="occ_order.commands.annotate")
