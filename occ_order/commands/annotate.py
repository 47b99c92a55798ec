"""`occ-order annotate`: a page on this machine that asks which of two instances is in front."""

from __future__ import annotations

import argparse
import sys
import threading
import webbrowser

from occ_order.apps.annotate.project import Project
from occ_order.apps.annotate.server import Server
from occ_order.formats.command_line import read_input


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


def run(options: argparse.Namespace) -> int:
    """Ask until it is interrupted, then write; return the exit status."""
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
    return 0
