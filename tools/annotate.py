#!/usr/bin/env python
"""Ask people which of two instances is in front: a page on this machine, as InstaOrder was made.

    python tools/annotate.py --from coco --input instances.json --images pictures --output asked
    python tools/annotate.py --from labelme --input my_folder --output asked --agree 1

The page shows a picture with two instances marked and asks whether one hides a part of the other,
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
import sys
import threading
import webbrowser

from occ_order.apps.annotate.project import MOST_INSTANCES, Project
from occ_order.apps.annotate.server import Server
from occ_order.formats.command_line import add_input_options, read_input


def parse_arguments(arguments: list[str] | None = None) -> argparse.Namespace:
    """Reads the command line.

    Args:
        arguments: as sys.argv[1:].

    Returns:
        The options.
    """
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add_input_options(parser)
    parser.add_argument("--output", required=True, metavar="DIR", help="folder of the answers")
    parser.add_argument(
        "--agree", type=int, default=2, metavar="N", help="people who must say the same (2)"
    )
    parser.add_argument(
        "--max-instances",
        type=int,
        default=MOST_INSTANCES,
        metavar="N",
        help=f"of more instances in an image, so many drawn at random ({MOST_INSTANCES})",
    )
    parser.add_argument("--seed", type=int, default=0, help="of that draw")
    parser.add_argument("--port", type=int, default=8321, help="0 takes any free port")
    parser.add_argument("--open", action="store_true", help="open the page in a browser")
    parser.add_argument("--write", action="store_true", help="only write the files, ask nothing")
    return parser.parse_args(arguments)


def write(project: Project) -> None:
    """Writes the files and says so."""
    counts = project.write()
    progress = project.progress("")
    print(
        f"{progress['settled']:,} of {progress['pairs']:,} pairs settled; {counts['images']:,} "
        f"images written to {project.folder}, {counts['complete']:,} of them complete"
    )


def serve(project: Project, options: argparse.Namespace) -> None:
    """Answers the page until it is interrupted."""
    with Server(project, options.port) as server:
        try:
            print(f"{len(project.pairs):,} pairs to ask about: {server.address} (Ctrl+C ends it)")
            sys.stdout.flush()
            if options.open:
                threading.Timer(0.5, webbrowser.open, (server.address,)).start()
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def main(arguments: list[str] | None = None) -> int:
    """Runs the tool.

    Args:
        arguments: as sys.argv[1:].

    Returns:
        0, or 2 where something cannot be read or written.
    """
    options = parse_arguments(arguments)
    try:
        project = Project(
            read_input(options),
            options.output,
            agree=options.agree,
            max_instances=options.max_instances,
            seed=options.seed,
        )
        if not options.write:
            serve(project, options)
        write(project)
    except (OSError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
