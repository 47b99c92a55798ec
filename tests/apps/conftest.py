"""A real browser without a display, for the tests of pages.

The browser is Chromium, spoken to over two pipes in its own DevTools protocol: no driver, no port,
no Python package. Mouse and keyboard events are the browser's own, not simulated in the page.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

CHROMIUM = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
PATIENCE = 90.0  # seconds until a browser that does not answer counts as hung; machines are busy


class Page:
    """One page of the browser: what is on it, and a user's hand on mouse and keyboard."""

    def __init__(self, browser: Chromium) -> None:
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=target, flatten=True)
        self.session = attached["sessionId"]
        self.messages: list[str] = []
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict:
        """One command of the protocol to this page."""
        return self.browser.call(method, session=self.session, page=self, **parameters)

    def open(self, address: str, *, width: int = 1200, height: int = 800, dark: bool = False):
        """Loads an address in a window of a size and waits until it is there."""
        self.resize(width, height)
        scheme = "dark" if dark else "light"
        feature = {"name": "prefers-color-scheme", "value": scheme}
        self.call("Emulation.setEmulatedMedia", features=[feature])
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def resize(self, width: int, height: int) -> None:
        """Sets the size of the window in pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=1, mobile=False,
        )  # fmt: skip

    def run(self, script: str) -> Any:
        """Value of a JavaScript expression; a promise is waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True
        )
        if "exceptionDetails" in answer:
            raise RuntimeError(f"{script}: {answer['exceptionDetails']}")
        return answer["result"].get("value")

    def wait(self, condition: str) -> Any:
        """Waits until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not (value := self.run(f"Boolean({condition})")):
            if time.monotonic() > end:
                raise TimeoutError(f"never became true: {condition}; console: {self.messages}")
            time.sleep(0.02)
        return value

    def text(self, selector: str) -> str:
        """What a reader sees of the first element that a selector finds."""
        return self.run(f"document.querySelector({json.dumps(selector)}).innerText")

    def point(self, selector: str) -> tuple[float, float]:
        """Middle of an element in the window, scrolled into view."""
        found = self.run(
            f"(e => {{ e.scrollIntoView({{block: 'nearest'}}); const b = e.getBoundingClientRect();"
            f" return [b.x + b.width / 2, b.y + b.height / 2]; }})"
            f"(document.querySelector({json.dumps(selector)}))"
        )
        return tuple(found)

    def move(self, x: float, y: float) -> None:
        """Moves the mouse."""
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y)

    def click(self, selector: str) -> None:
        """Clicks on the middle of an element with the left button."""
        x, y = self.point(selector)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def drag(self, begin: tuple[float, float], end: tuple[float, float]) -> None:
        """Drags with the left button from one point of the window to another."""
        middle = tuple((a + b) / 2 for a, b in zip(begin, end, strict=True))
        for kind, (x, y) in (
            ("mousePressed", begin), ("mouseMoved", middle), ("mouseMoved", end),
            ("mouseReleased", end),
        ):  # fmt: skip
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", buttons=1)

    def upload(self, selector: str, *files: Path) -> None:
        """Chooses files of this machine in an input of a form, as its dialog would."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        found = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=found, files=list(map(str, files)))

    def accessible(self) -> list[tuple[str, str]]:
        """Role and name of everything that a screen reader is told of."""
        nodes = self.call("Accessibility.getFullAXTree")["nodes"]
        return [
            (node["role"]["value"], node.get("name", {}).get("value", "").strip())
            for node in nodes
            if not node["ignored"]
        ]

    def press(self, key: str) -> None:
        """Presses a key: one character, or the name of a key such as "Enter"."""
        extra = {"text": key} if len(key) == 1 else {"text": "\r"} if key == "Enter" else {}
        codes = {
            "Enter": 13,
            "Tab": 9,
            "Backspace": 8,
            "ArrowRight": 39,
            "ArrowLeft": 37,
            "Escape": 27,
        }
        code = {"windowsVirtualKeyCode": codes[key]} if key in codes else {}
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, **extra, **code)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key, **code)

    def type(self, text: str) -> None:
        """Types into what has the focus."""
        self.call("Input.insertText", text=text)

    def screenshot(self, path: Path) -> np.ndarray:
        """What the window shows, saved as a PNG file too; uint8 (H, W, 3)."""
        data = self.call("Page.captureScreenshot", format="png")["data"]
        path.write_bytes(base64.b64decode(data))
        with Image.open(path) as shown:
            return np.asarray(shown.convert("RGB"))

    def close(self) -> None:
        """Closes the page."""
        self.call("Page.close")


class Chromium:
    """A headless Chromium, spoken to over pipes (``--remote-debugging-pipe``)."""

    def __init__(self, program: str, profile: Path) -> None:
        there, ours_out = os.pipe()
        ours_in, back = os.pipe()
        command = [
            program, "--headless=new", "--no-sandbox", "--disable-gpu", "--no-first-run",
            "--disable-dev-shm-usage", "--disable-background-networking", "--hide-scrollbars",
            "--disable-component-update", "--remote-debugging-pipe", f"--user-data-dir={profile}",
        ]  # fmt: skip
        # Chromium reads its descriptor 3 and writes its 4, which may be in use here.
        moved = (
            "import fcntl, os, sys\n"
            "ends = [fcntl.fcntl(int(end), fcntl.F_DUPFD, 20) for end in sys.argv[1:3]]\n"
            "for end, place in zip(ends, (3, 4)): os.dup2(end, place)\n"
            "for end in ends: os.close(end)\n"
            "os.execv(sys.argv[3], sys.argv[3:])"
        )
        self._process = subprocess.Popen(
            [sys.executable, "-c", moved, str(there), str(back), *command],
            pass_fds=(there, back), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
        os.close(there)
        os.close(back)
        self._out, self._in, self._rest, self._number = ours_out, ours_in, b"", 0

    def call(self, method: str, session: str = "", page: Page | None = None, **parameters) -> dict:
        """Sends a command and returns its answer; what the page says meanwhile is kept."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if session:
            message["sessionId"] = session
        os.write(self._out, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._read()
            if answer.get("id") == self._number:
                if "error" in answer:
                    raise RuntimeError(f"{method}: {answer['error']}")
                return answer["result"]
            kind = answer.get("method", "")
            # "info" is what the browser did of itself: a dialog shown again takes no focus.
            told = answer.get("params", {}).get("entry", {}).get("level") != "info"
            if page is not None and told and kind in ("Runtime.exceptionThrown", "Log.entryAdded"):
                page.messages.append(json.dumps(answer["params"])[:400])

    def _read(self) -> dict:
        end = time.monotonic() + PATIENCE
        while b"\0" not in self._rest:
            left = end - time.monotonic()
            if left < 0 or not select.select([self._in], [], [], left)[0]:
                raise TimeoutError("the browser does not answer")
            piece = os.read(self._in, 1 << 16)
            if not piece:
                raise RuntimeError("the browser has ended")
            self._rest += piece
        first, self._rest = self._rest.split(b"\0", 1)
        return json.loads(first)

    def stop(self) -> None:
        """Ends the browser."""
        self._process.terminate()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        os.close(self._out)
        os.close(self._in)


@pytest.fixture(scope="session")
def chromium(tmp_path_factory):
    """A running browser; skips where none is installed."""
    program = next(filter(None, map(shutil.which, CHROMIUM)), None)
    if program is None:
        pytest.skip("no browser: install Chromium (Debian, Ubuntu: apt-get install chromium)")
    browser = Chromium(program, tmp_path_factory.mktemp("chromium"))
    yield browser
    browser.stop()


@pytest.fixture
def page(chromium):
    """An empty page; a test fails if a script of ours raised an error on it."""
    page = Page(chromium)
    yield page
    messages = page.messages
    page.close()
    assert messages == []
