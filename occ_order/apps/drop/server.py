"""Web server of the page, for the local machine only.

It listens on 127.0.0.1. Against cross-site requests and DNS rebinding, a request must have this
server as its Host and, if it has one, its Origin. The page loads no external resources
(Content-Security-Policy), and Gradio fetches no URL for it. Gradio serves only its own files and
those in the folder of uploads and results.
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
"""Environment variables that disable Gradio's telemetry."""

POLICY = (
    "default-src 'self'; img-src 'self' data: blob:; connect-src 'self'; font-src 'self' data:; "
    "style-src 'self' 'unsafe-inline'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    "worker-src 'self' blob:; object-src 'none'; form-action 'none'; frame-ancestors 'none'"
)
"""Content-Security-Policy; inline scripts and styles are allowed because Gradio needs them."""

FETCHES = ("/file=http:", "/file=https:", "/proxy=")
"""Parts of request paths that make Gradio fetch a URL; such requests are refused."""

Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]


class Guard:
    """ASGI middleware that only passes on requests of the server's own page.

    Args:
        inner: the ASGI application to protect.
        port: port of this server.
    """

    def __init__(self, inner: Callable[..., Awaitable[None]], port: int) -> None:
        self.inner = inner
        self.hosts = (f"{ADDRESS}:{port}", f"localhost:{port}")

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        """Handle a request, as ASGI specifies."""
        if scope["type"] == "lifespan":
            await self.inner(scope, receive, send)
        elif scope["type"] != "http" or not self.is_ours(scope):
            await _refuse(scope, send)
        else:
            await self.inner(scope, receive, _with_policy(send))

    def is_ours(self, scope: dict[str, Any]) -> bool:
        """Return whether a request comes from the page and makes Gradio fetch no URL."""
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
    """Wrap `send` to add the security headers to each response."""

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
    """Web server of one page on 127.0.0.1.

    Args:
        folder: empty folder for uploads and results.
        settings: settings of the page.
        port: TCP port; 0 selects a free one, see `address`.

    Raises:
        ImportError: Gradio, or Matplotlib (for the panels), is not installed.
        OSError: the port is in use.
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
        """URL of the page."""
        return f"http://{ADDRESS}:{self._socket.getsockname()[1]}/"

    def serve_forever(self) -> None:
        """Serve requests until `stop` is called or a signal arrives."""
        self._server.run(sockets=[self._socket])

    def stop(self) -> None:
        """End `serve_forever`; called from another thread."""
        self._server.should_exit = True


def _server(folder: Path, settings: Settings, port: int) -> Any:
    # Set before the import: Gradio reads these, and creates its folder, when it is imported.
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
