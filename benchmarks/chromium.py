"""A headless Chromium, driven over its DevTools protocol: JSON messages in two pipes, no further package."""

import base64
import contextlib
import fcntl
import itertools
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = (
    *("--headless", "--remote-debugging-pipe", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
    *("--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking", "--disable-extensions"),
)
PATIENCE_S = 60


def program() -> str | None:
    """Chromium's path, if it is installed."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Tab:
    """A page of the browser."""

    def __init__(self, to_browser: int, from_browser: int, width: int, height: int) -> None:
        self._to, self._from, self._numbers, self._rest = to_browser, from_browser, itertools.count(1), b""
        self.session: str | None = None
        self.errors: list[str] = []
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self.session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """One command of the protocol and its result."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": params}
        if self.session is not None:
            message["sessionId"] = self.session
        os.write(self._to, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") == number:
                assert "error" not in answer, (method, answer["error"])
                result: dict[str, Any] = answer["result"]
                return result
            if answer.get("method") == "Runtime.exceptionThrown":
                details = answer["params"]["exceptionDetails"]
                self.errors.append(details.get("exception", {}).get("description") or details["text"])
            if answer.get("method") == "Log.entryAdded" and answer["params"]["entry"]["level"] == "error":
                self.errors.append(f"{answer['params']['entry']['text']} {answer['params']['entry'].get('url', '')}")

    def _receive(self) -> dict[str, Any]:
        while b"\0" not in self._rest:
            ready, _, _ = select.select([self._from], [], [], PATIENCE_S)
            part = os.read(self._from, 2**16) if ready else b""
            assert part, "Chromium does not answer"
            self._rest += part
        first, _, self._rest = self._rest.partition(b"\0")
        message: dict[str, Any] = json.loads(first)
        return message

    def resize(self, width: int, height: int, *, phone: bool = False) -> None:
        """The size of the window in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone,
        )  # fmt: skip

    def dark(self, is_dark: bool) -> None:
        """What prefers-color-scheme tells."""
        value = "dark" if is_dark else "light"
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": value}])

    def open(self, url: str) -> None:
        """Go to an address."""
        self.call("Page.navigate", url=url)

    def run(self, script: str) -> Any:
        """The value of a JavaScript expression, awaited."""
        answer = self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, script: str, what: str = "") -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE_S
        while not self.run(f"(() => {{ try {{ return Boolean({script}) }} catch {{ return false }} }})()"):
            assert time.monotonic() < end, (what or script, self.errors)
            time.sleep(0.02)

    def press(self, key: str) -> None:
        """A key such as "a", "ArrowRight", "Escape"."""
        code = {"Escape": 27, "Enter": 13, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40}
        text = {"text": key if len(key) == 1 else "\r"} if len(key) == 1 or key == "Enter" else {}
        number = code.get(key, ord(key[0].upper()))
        for kind in ("keyDown", "keyUp"):
            extra = text if kind == "keyDown" else {}
            self.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=number, **extra)

    def type(self, text: str) -> None:
        """Text into the field that has the focus."""
        self.call("Input.insertText", text=text)

    def drag(self, points: list[tuple[float, float]], *, shift: bool = False) -> None:
        """The mouse pressed at the first point, moved along, let go at the last; a click if there is one point."""
        common = {"button": "left", "buttons": 1, "modifiers": 8 if shift else 0, "clickCount": 1}
        (x, y), modifiers = points[0], common["modifiers"]
        self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, modifiers=modifiers)
        self.call("Input.dispatchMouseEvent", type="mousePressed", x=x, y=y, **common)
        for x, y in points[1:]:
            self.call("Input.dispatchMouseEvent", type="mouseMoved", x=x, y=y, **common)
        self.call("Input.dispatchMouseEvent", type="mouseReleased", x=x, y=y, **common)

    def wheel(self, x: float, y: float, turn: float) -> None:
        """The mouse wheel turned at a point."""
        self.call("Input.dispatchMouseEvent", type="mouseWheel", x=x, y=y, deltaX=0, deltaY=turn)

    def renderers(self) -> list[int]:
        """The processes that show pages."""
        session, self.session = self.session, None  # the browser answers this, not the page
        processes = self.call("SystemInfo.getProcessInfo")["processInfo"]
        self.session = session
        return [process["id"] for process in processes if process["type"] == "renderer"]

    def memory_is_short(self) -> None:
        """Let the page give back what it only keeps for later."""
        self.call("Memory.simulatePressureNotification", level="critical")

    def screenshot(self, path: Path) -> None:
        """What the window shows, as PNG."""
        path.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextlib.contextmanager
def chromium(folder: Path, width: int = 1280, height: int = 860, flags: tuple[str, ...] = ()) -> Iterator[Tab]:
    """Start Chromium with its profile in `folder`, and end it."""
    found = program()
    assert found is not None, "no Chromium is installed"
    (to_read, to_write), (from_read, from_write) = os.pipe(), os.pipe()
    theirs = [fcntl.fcntl(fd, fcntl.F_DUPFD, 20) for fd in (to_read, from_write)]  # out of the way of 3 and 4

    def as_3_and_4() -> None:
        os.dup2(theirs[0], 3)
        os.dup2(theirs[1], 4)

    process = subprocess.Popen(
        [found, *FLAGS, *flags, f"--user-data-dir={folder / 'profile'}", "about:blank"],
        preexec_fn=as_3_and_4, pass_fds=(3, 4), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    for fd in (to_read, from_write, *theirs):
        os.close(fd)
    try:
        yield Tab(to_write, from_read, width, height)
    finally:
        process.terminate()
        process.wait(PATIENCE_S)
        os.close(to_write)
        os.close(from_read)
