"""The page that asks, served to this machine alone.

Only 127.0.0.1 is listened on. A browser may be led by other pages to send requests here, so a
request must name this server in its Host header, and an answer must come from this page (Origin) as
JSON. No path of a file is ever taken from a request: pictures are asked for by their number.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import resources
from typing import Any
from urllib.parse import parse_qs, urlsplit

from occ_order.apps.annotate.answers import checked_answer, checked_name
from occ_order.apps.annotate.project import Project
from occ_order.files import check_writable

ADDRESS = "127.0.0.1"
LONGEST_REQUEST = 10_000
"""Bytes of a request body; an answer has some 200."""

_POLICY = (
    "default-src 'none'; img-src 'self' data:; connect-src 'self'; style-src 'unsafe-inline'; "
    "script-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class RequestError(Exception):
    """A request that is answered with an error status."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Server(ThreadingHTTPServer):
    """Serves one project on 127.0.0.1.

    Args:
        project: what is asked.
        port: 0 takes any free one; `address` tells which.

    Raises:
        OSError: the port is taken, or the folder of the answers cannot be written.
    """

    daemon_threads = True

    def __init__(self, project: Project, port: int = 0) -> None:
        check_writable(project.folder)
        self.project, self.lock = project, threading.Lock()
        self.page = (resources.files("occ_order.apps.annotate") / "page.html").read_bytes()
        super().__init__((ADDRESS, port), _Handler)

    @property
    def address(self) -> str:
        """Address of the page."""
        return f"http://{ADDRESS}:{self.server_port}/"

    @property
    def hosts(self) -> tuple[str, ...]:
        """What the Host header of a request may be."""
        return (f"{ADDRESS}:{self.server_port}", f"localhost:{self.server_port}")


class _Handler(BaseHTTPRequestHandler):
    server: Server
    timeout = 30
    server_version = "occ_order"
    sys_version = ""

    def do_GET(self) -> None:
        self._answer(self._get)

    def do_POST(self) -> None:
        self._answer(self._post)

    def _answer(self, respond: Any) -> None:
        try:
            if self.headers.get("Host") not in self.server.hosts:
                raise RequestError(HTTPStatus.FORBIDDEN, "this server answers its own page only")
            kind, body = respond(urlsplit(self.path))
            status = HTTPStatus.OK
        except RequestError as error:
            status, kind, body = error.status, "application/json", _json({"error": str(error)})
        except ValueError as error:
            status, kind = HTTPStatus.BAD_REQUEST, "application/json"
            body = _json({"error": str(error)})
        self.send_response(status)
        for name, value in (
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
            ("Content-Security-Policy", _POLICY),
            ("X-Content-Type-Options", "nosniff"),
            ("Referrer-Policy", "no-referrer"),
            ("Cache-Control", "no-store"),
        ):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def _get(self, url: Any) -> tuple[str, bytes]:
        project, query = self.server.project, parse_qs(url.query)
        if url.path == "/":
            return "text/html; charset=utf-8", self.server.page
        if match := re.fullmatch(r"/picture/(\d{1,9})", url.path):
            try:
                return "image/jpeg", project.picture(int(match[1]))
            except IndexError as error:
                raise RequestError(HTTPStatus.NOT_FOUND, str(error)) from None
        if url.path == "/question":
            name = checked_name(query.get("annotator", [""])[0])
            back = query.get("back", ["0"])[0]
            if not re.fullmatch(r"\d{1,6}", back):
                raise ValueError(f"'back' must be a number, got {back!r:.20}")
            return "application/json", self._question(name, int(back))
        raise RequestError(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _question(self, name: str, back: int) -> bytes:
        project = self.server.project
        with self.server.lock:
            pair = project.earlier_pair(name, back) if back else project.next_pair(name)
            question = None if pair is None else project.question(pair, name)
            return _json({"question": question, "progress": project.progress(name)})

    def _post(self, url: Any) -> tuple[str, bytes]:
        origin = self.headers.get("Origin")
        if origin is not None and origin not in [f"http://{host}" for host in self.server.hosts]:
            raise RequestError(HTTPStatus.FORBIDDEN, "answers come from this server's page only")
        if self.headers.get("Content-Type", "").split(";")[0].strip() != "application/json":
            raise RequestError(HTTPStatus.UNSUPPORTED_MEDIA_TYPE, "send application/json")
        length = self.headers.get("Content-Length", "")
        if not re.fullmatch(r"\d{1,9}", length):
            raise RequestError(HTTPStatus.LENGTH_REQUIRED, "the length of the request is missing")
        if int(length) > LONGEST_REQUEST:
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request is too long")
        body = self.rfile.read(int(length))
        try:
            entry = json.loads(body.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not JSON: {error}") from None
        if url.path == "/answer":
            answer = checked_answer(entry)
            with self.server.lock, _stored():
                self.server.project.answer(answer)
                progress = self.server.project.progress(answer.annotator)
            return "application/json", _json({"progress": progress})
        if url.path == "/write":
            with self.server.lock, _stored():
                return "application/json", _json(self.server.project.write())
        raise RequestError(HTTPStatus.NOT_FOUND, "there is nothing here")

    def log_message(self, format: str, *arguments: Any) -> None:
        """Requests are not worth a line in the terminal."""


@contextmanager
def _stored() -> Iterator[None]:
    """A full disk, or a folder that cannot be written any more, is told to the page."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(HTTPStatus.INSUFFICIENT_STORAGE, reason) from error


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode("ascii")
