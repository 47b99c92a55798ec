"""Serves the page to this machine alone.

Only 127.0.0.1 is listened on. A browser may be led by other pages to send requests here, so a
request must name this server in its Host header and, where it has one, in its Origin. The page may
load nothing from elsewhere (Content-Security-Policy), and Gradio fetches no address for it. The
files that Gradio serves are its own and those in the folder of uploads and answers.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from occ_order.apps.drop.answer import Settings
from occ_order.backends import installed

ADDRESS = "127.0.0.1"

QUIET = {
    "GRADIO_ANALYTICS_ENABLED": "False",
    "GRADIO_MCP_SERVER": "False",
    "HF_HUB_DISABLE_TELEMETRY": "1",
}
"""Environment variables that keep Gradio from telling anybody anything."""

POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; connect-src 'self'; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "worker-src 'self' blob:; object-src 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""What a browser may load for the page; Gradio's pages hold scripts and styles of their own."""

FETCHES = ("/file=http:", "/file=https:", "/proxy=")
"""In paths by which Gradio would fetch an address."""

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Guard:
    """An ASGI application that lets requests of its own page through to another one.

    Args:
        inner: the other application.
        port: of this server.
    """

    def __init__(self, inner: Callable[..., Awaitable[None]], port: int) -> None:
        self.inner = inner
        self.hosts = (f"{ADDRESS}:{port}", f"localhost:{port}")

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "lifespan":
            await self.inner(scope, receive, send)
        elif scope["type"] != "http" or not self.is_ours(scope):
            await _refuse(scope, send)
        else:
            await self.inner(scope, receive, _with_policy(send))

    def is_ours(self, scope: dict[str, Any]) -> bool:
        """Return whether a request came from the page and asks for nothing from elsewhere."""
        headers = {name.lower(): value.decode("latin-1") for name, value in scope["headers"]}
        origin = headers.get(b"origin")
        path = unquote(scope["path"]).lower()
        return (
            headers.get(b"host") in self.hosts
            and (origin is None or origin in [f"http://{host}" for host in self.hosts])
            and not any(part in path for part in FETCHES)
        )


async def _refuse(scope: dict[str, Any], send: Send) -> None:
    if scope["type"] == "websocket":
        await send({"type": "websocket.close", "code": 1008})
        return
    plain = [(b"content-type", b"text/plain; charset=utf-8")]
    await send({"type": "http.response.start", "status": 403, "headers": plain})
    await send({"type": "http.response.body", "body": b"this server answers its own page only"})


def _with_policy(send: Send) -> Send:
    """Send with the headers that keep a browser from loading what is elsewhere."""

    async def sending(message: dict[str, Any]) -> None:
        if message["type"] == "http.response.start":
            more = [
                (b"content-security-policy", POLICY.encode("ascii")),
                (b"referrer-policy", b"no-referrer"),
                (b"x-content-type-options", b"nosniff"),
            ]
            message = {**message, "headers": [*message.get("headers", ()), *more]}
        await send(message)

    return sending


class Server:
    """Serves one page on 127.0.0.1.

    Args:
        folder: of uploads and answers; empty.
        settings: of the page.
        port: 0 takes any free one; `address` tells which.

    Raises:
        ImportError: Gradio, or Matplotlib, which draws the panels, is not installed.
        OSError: the port is taken.
    """

    def __init__(self, folder: Path, settings: Settings, port: int = 0) -> None:
        for name in ("gradio", "matplotlib"):
            if not installed(name):
                raise ImportError(f'the page needs {name}: pip install "occ_order[app]"')
        self._socket = socket.create_server((ADDRESS, port))
        try:
            self._server = _server(folder, settings, self._socket.getsockname()[1])
        except BaseException:
            self._socket.close()
            raise

    @property
    def address(self) -> str:
        """Address of the page."""
        return f"http://{ADDRESS}:{self._socket.getsockname()[1]}/"

    def serve_forever(self) -> None:
        """Answer the page until `stop`, or a signal."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End `serve_forever`, from another thread."""
        self._server.should_exit = True


def _server(folder: Path, settings: Settings, port: int) -> Any:
    # Before Gradio is imported: it reads them, and makes a folder, at once.
    places = {"GRADIO_TEMP_DIR": str(folder), "GRADIO_EXAMPLES_CACHE": str(folder / "examples")}
    os.environ.update(QUIET | places)
    import fastapi
    import gradio as gr
    import uvicorn

    from occ_order.apps.drop.page import CSS, build

    outer = fastapi.FastAPI(docs_url=None, redoc_url=None, openapi_url=None)
    fonts = {"font": ["system-ui", "sans-serif"], "font_mono": ["ui-monospace", "monospace"]}
    gr.mount_gradio_app(
        outer,
        build(folder, settings),
        path="/",
        server_name=ADDRESS,
        server_port=port,
        footer_links=[],
        run_history=False,
        mcp_server=False,
        ssr_mode=False,
        theme=gr.themes.Default(**fonts),
        css=CSS,
    )
    quietly = {"log_level": "warning", "timeout_graceful_shutdown": 1}
    return uvicorn.Server(uvicorn.Config(Guard(outer, port), **quietly))
