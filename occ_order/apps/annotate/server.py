"""HTTP server of the annotation page, for the local machine only.

It listens on 127.0.0.1. Against cross-site requests and DNS rebinding, a request must have this
server as its Host, and a POST must have the page's Origin and a JSON body. File paths are never
taken from a request: images are requested by number.
"""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

from occ_order.apps.annotate.answers import Pair, checked_answer, checked_name
from occ_order.apps.annotate.project import Project
from occ_order.files import check_writable, read_bytes

ADDRESS = "127.0.0.1"
LONGEST_REQUEST = 1_000_000
"""Maximum bytes of a request body; an answer has about 200, an image up to a thousand pairs."""

MOST_DISCARDED, CHUNK = 10_000_000, 65_536
"""Maximum bytes of a longer body that are read before it is refused, and bytes read at a time."""

_PAGE = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/whole_image.js": ("whole_image.js", "text/javascript; charset=utf-8"),
}

_POLICY = (
    "default-src 'none'; img-src 'self' data:; connect-src 'self'; style-src 'self'; "
    "script-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


VIEWS = ("pair", "image")


class RequestError(Exception):
    """A request that is answered with an error status."""

    def __init__(self, status: HTTPStatus, message: str) -> None:
        super().__init__(message)
        self.status = status


class Server(ThreadingHTTPServer):
    """HTTP server of one project on 127.0.0.1.

    Args:
        project: the annotation project.
        port: TCP port; 0 selects a free one, see `address`.

    Raises:
        OSError: the port is in use, or the project folder is not writable.
    """

    daemon_threads = True

    def __init__(self, project: Project, port: int = 0) -> None:
        check_writable(project.folder)
        self.project, self.lock = project, threading.Lock()
        folder = Path(__file__).parent
        self.page = {
            path: (kind, read_bytes(folder / name)) for path, (name, kind) in _PAGE.items()
        }
        super().__init__((ADDRESS, port), _Handler)

    @property
    def address(self) -> str:
        """URL of the page."""
        return f"http://{ADDRESS}:{self.server_port}/"

    @property
    def hosts(self) -> tuple[str, ...]:
        """Allowed values of the Host header."""
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
        with suppress(ConnectionError):  # the browser has closed the connection
            self.wfile.write(body)

    def _get(self, url: Any) -> tuple[str, bytes]:
        query = {key: values[0] for key, values in parse_qs(url.query).items()}
        if url.path in self.server.page:
            return self.server.page[url.path]
        if match := re.fullmatch(r"/image/(\d{1,9})", url.path):
            try:
                return "image/jpeg", self.server.project.image(int(match[1]))
            except IndexError as error:
                raise RequestError(HTTPStatus.NOT_FOUND, str(error)) from None
        if url.path == "/question":
            name = checked_name(query.get("annotator", ""))
            with self.server.lock:
                return "application/json", self._state(name, query.get("view"))
        raise RequestError(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _state(self, name: str, view: Any, pairs: list[Pair] | None = None) -> bytes:
        """Return the state of the page as JSON, with `pairs` or the annotator's next question."""
        project = self.server.project
        whole_image = project.protocol.offers_whole_image
        if view not in VIEWS:
            raise ValueError(f"'view' must be one of {VIEWS}, got {view!r:.20}")
        if not pairs and (pair := project.next_pair(name)) is not None:
            pairs = [pair]
        if pairs and view == "image" and whole_image and pairs[0] not in project.quiz:
            pairs = project.image_pairs(pairs[0])
        question = project.question(pairs, name) if pairs else None
        return _json(
            {
                "question": question,
                "progress": project.progress(name),
                "tasks": project.protocol.tasks,
                "ranges": project.protocol.ranges,
                "guideline": project.protocol.guideline,
                "whole_image": whole_image,
            }
        )

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
            self._discard(min(int(length), MOST_DISCARDED))
            raise RequestError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request is too long")
        body = self.rfile.read(int(length))
        try:
            entry = json.loads(body.decode("utf-8"))
        except (ValueError, RecursionError) as error:
            raise ValueError(f"not JSON: {error}") from None
        with self.server.lock, _stored():
            if url.path == "/write":
                return "application/json", _json(self.server.project.write())
            if url.path in ("/answers", "/skip", "/undo"):
                return "application/json", self._change(url.path, entry)
        raise RequestError(HTTPStatus.NOT_FOUND, "there is nothing here")

    def _discard(self, length: int) -> None:
        """Read and drop a request body.

        Clients read the response after they have sent everything; if the connection is closed
        earlier, they see a broken pipe instead of the status.
        """
        while length > 0 and (part := self.rfile.read(min(CHUNK, length))):
            length -= len(part)

    def _change(self, path: str, entry: Any) -> bytes:
        """Store answers, skip pairs or undo the last answers; return the new state of the page."""
        if not isinstance(entry, dict):
            raise ValueError(f"expected an object, got {entry!r:.60}")
        project, name = self.server.project, checked_name(entry.get("annotator"))
        if path == "/undo":
            return self._state(name, entry.get("view"), project.undo(name)[:1])
        listed = entry.get("answers" if path == "/answers" else "pairs")
        if not isinstance(listed, list) or not listed:
            raise ValueError(f"expected a list that is not empty, got {listed!r:.60}")
        if path == "/answers":
            project.answer(checked_answer(_named(answer, name)) for answer in listed)
        else:
            project.skip(name, (_checked_pair(pair) for pair in listed))
        return self._state(name, entry.get("view"))

    def log_message(self, format: str, *arguments: Any) -> None:
        """Log nothing: every key press sends a request."""


def _named(answer: Any, name: str) -> Any:
    return {**answer, "annotator": name} if isinstance(answer, dict) else answer


def _checked_pair(pair: Any) -> Pair:
    if not isinstance(pair, list) or len(pair) != 3 or not all(type(k) is int for k in pair):
        raise ValueError(f"a pair is an image id and two annotation ids, got {pair!r:.60}")
    return tuple(pair)


@contextmanager
def _stored() -> Iterator[None]:
    """Turn an OSError (disk full, folder not writable) into an error response for the page."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        raise RequestError(HTTPStatus.INSUFFICIENT_STORAGE, reason) from error


def _json(value: Any) -> bytes:
    return json.dumps(value, allow_nan=False).encode("ascii")
