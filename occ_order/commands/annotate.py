"""`occ-order annotate`: annotate the order of pairs of instances on a local web page."""

from __future__ import annotations

import argparse
import sys
import threading
import webbrowser
from dataclasses import fields, replace

from occ_order.apps.annotate.answers import TASKS
from occ_order.apps.annotate.guesses import read_guesses
from occ_order.apps.annotate.project import Project
from occ_order.apps.annotate.protocol import PROTOCOLS, Protocol
from occ_order.apps.annotate.server import Server
from occ_order.formats.command_line import read_input


def protocol_of(options: argparse.Namespace) -> Protocol:
    """Return the chosen protocol, with the settings that are given as options.

    Raises:
        ValueError: an invalid value.
    """
    given = {field.name: getattr(options, field.name) for field in fields(Protocol)}
    if given["tasks"] is not None:
        given["tasks"] = TASKS if given["tasks"] == "both" else (given["tasks"],)
    known = {name: value for name, value in given.items() if value is not None}
    return replace(PROTOCOLS[options.protocol], **known)


def write(project: Project) -> None:
    """Write the files and print a summary."""
    counts = project.write()
    progress = project.progress("")
    print(
        f"{progress['settled']:,} of {progress['pairs']:,} pairs settled; {counts['images']:,} "
        f"images written to {project.folder}, {counts['complete']:,} of them complete"
    )
    for task, found in project.agreement().items():
        if task != "annotators" and found["first_agree"] is not None:
            print(
                f"{task}: {found['settled']:,} of {found['pairs']:,} pairs settled, "
                f"{found['first_agree']:.1%} by the first {project.protocol.agree} people"
            )


def serve(project: Project, options: argparse.Namespace) -> None:
    """Serve the page until interrupted."""
    with Server(project, options.port) as server:
        try:
            print(f"{len(project.pairs):,} pairs to ask about: {server.address} (Ctrl+C ends it)")
            sys.stdout.flush()
            if options.open:
                threading.Timer(0.5, webbrowser.open, (server.address,)).start()
            server.serve_forever()
        except KeyboardInterrupt:
            print()


def run(options: argparse.Namespace) -> int:
    """Serve the page until interrupted, then write the files; return the exit status."""
    project = Project(read_input(options), options.output, protocol_of(options))
    if options.quiz is not None:
        project.set_quiz(options.quiz)
    if options.guesses is not None:
        project.guesses = read_guesses(options.guesses, project.records)
    if not options.write:
        serve(project, options)
    write(project)
    return 0
