"""`occ-order app`: serve a local web page that predicts the order of instances in photographs."""

from __future__ import annotations

import argparse
import atexit
import shutil
import signal
import sys
import tempfile
import threading
import webbrowser
from pathlib import Path

from occ_order.apps.drop.answer import Settings
from occ_order.apps.drop.server import Server
from occ_order.backends import installed
from occ_order.commands.predict import write
from occ_order.instances import OrderedInstances


def run(options: argparse.Namespace) -> int:
    """Serve the page until interrupted; return the exit status.

    Raises:
        ImportError: Gradio or Matplotlib is not installed.
        OSError: the port is in use.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # removes the folder, too
    settings = Settings(write_everything, options.detector, options.device, options.backend)
    with tempfile.TemporaryDirectory(prefix="occ_order_app_", ignore_cleanup_errors=True) as folder:
        # Once more at the very end: threads of Gradio that outlive the server may write into it.
        atexit.register(shutil.rmtree, folder, ignore_errors=True)
        try:
            server = Server(Path(folder), settings, options.port)
            print(f"the page: {server.address} (Ctrl+C ends it)")
            sys.stdout.flush()
            if options.open:
                threading.Timer(1.0, webbrowser.open, (server.address,)).start()
            server.serve_forever()
        except KeyboardInterrupt:
            print()
    return 0


def write_everything(folder: Path, result: OrderedInstances) -> None:
    """Write all files of `occ-order predict` for an image: images, layers, PSD, graphs."""
    write(folder, result, argparse.Namespace(psd=installed("psd_tools"), graphs=True))
