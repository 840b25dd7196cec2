"""A headless Chromium for tests of pages, driven through its debugging pipe.

The browser is the distribution's own; nothing else is installed. Mouse, keyboard, touch and files
are real input events, as a user makes them. What a page logs as an error, and every address that it
requests, is kept.

Source: the Chrome DevTools protocol, over `--remote-debugging-pipe` (JSON texts that end with a
zero byte, on the file descriptors 3 and 4).
"""

import base64
import contextlib
import fcntl
import json
import os
import select
import shutil
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, Self

CHROMIUM: Final = shutil.which("chromium") or shutil.which("chromium-browser")
"""Path of the browser; None where there is none."""
SECONDS: Final = 30.0
"""Within which the browser must answer, and conditions must come true."""
POLL_SECONDS: Final = 0.05
HIGH_FILE: Final = 64
"""Least number of a copied file descriptor."""
FLAGS: Final = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--disable-dev-shm-usage", "--hide-scrollbars", "--mute-audio",
    "--remote-debugging-pipe",
)  # fmt: skip
KEYS: Final = {
    "Tab": 9, "Enter": 13, "Escape": 27, " ": 32, "PageUp": 33, "PageDown": 34, "End": 35,
    "Home": 36, "ArrowLeft": 37, "ArrowUp": 38, "ArrowRight": 39, "ArrowDown": 40,
}  # fmt: skip


class Browser:
    """One process of Chromium.

    Args:
        scratch: an empty folder for its profile and for downloads.
    """

    def __init__(self, scratch: Path) -> None:
        assert CHROMIUM is not None
        self.downloads = scratch / "downloads"
        theirs, self._out = os.pipe()
        self._in, answers = os.pipe()
        # Copies with high numbers, so that neither becomes 3 or 4 before it is its turn.
        ours = [fcntl.fcntl(one, fcntl.F_DUPFD_CLOEXEC, HIGH_FILE) for one in (theirs, answers)]
        quiet = [(os.POSIX_SPAWN_OPEN, out, os.devnull, os.O_WRONLY, 0) for out in (1, 2)]
        moved = [(os.POSIX_SPAWN_DUP2, one, place) for one, place in zip(ours, (3, 4), strict=True)]
        self._process = os.posix_spawn(
            CHROMIUM,
            [CHROMIUM, *FLAGS, f"--user-data-dir={scratch / 'profile'}"],
            {**os.environ, "HOME": str(scratch)},
            file_actions=[*quiet, *moved],
        )
        for one in (theirs, answers, *ours):
            os.close(one)
        self._buffer, self._number = b"", 0
        self._pages: dict[str, Page] = {}

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End the browser."""
        with contextlib.suppress(AssertionError, OSError, TimeoutError):
            self.call("Browser.close")
        end = time.monotonic() + SECONDS
        while os.waitpid(self._process, os.WNOHANG)[0] == 0:
            if time.monotonic() > end:
                os.kill(self._process, signal.SIGKILL)
            time.sleep(POLL_SECONDS)
        os.close(self._out)
        os.close(self._in)

    def open(self, address: str, width: int = 1280, height: int = 900, script: str = "") -> "Page":
        """A page of its own user: nothing is shared with other pages.

        Args:
            address: what it shows.
            width: of the window.
            height: of the window.
            script: that runs before those of the page.
        """
        context = self.call("Target.createBrowserContext")["browserContextId"]
        self.call(
            "Browser.setDownloadBehavior",
            behavior="allow",
            browserContextId=context,
            downloadPath=str(self.downloads),
        )
        target = self.call("Target.createTarget", url="about:blank", browserContextId=context)
        found = self.call("Target.attachToTarget", targetId=target["targetId"], flatten=True)
        page = self._pages[found["sessionId"]] = Page(self, found["sessionId"], context)
        page.prepare(width, height)
        page.call("Page.addScriptToEvaluateOnNewDocument", source=script)
        page.go(address)
        return page

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        self._number += 1
        message: dict[str, Any] = {"id": self._number, "method": method, "params": params}
        if session is not None:
            message["sessionId"] = session
        data = json.dumps(message).encode() + b"\0"
        while data:
            data = data[os.write(self._out, data) :]
        number, end = self._number, time.monotonic() + SECONDS
        while time.monotonic() < end:
            answer = self._next(end)
            if answer.get("id") == number:
                assert "error" not in answer, f"{method}: {answer['error']}"
                result: dict[str, Any] = answer["result"]
                return result
            self._take(answer)
        raise TimeoutError(f"the browser did not answer {method} within {SECONDS:g} s")

    def _next(self, end: float) -> dict[str, Any]:
        """The next message."""
        while b"\0" not in self._buffer:
            ready, _, _ = select.select([self._in], [], [], max(0.0, end - time.monotonic()))
            if not ready:
                return {}
            data = os.read(self._in, 1 << 20)
            assert data, "the browser has ended"
            self._buffer += data
        text, _, self._buffer = self._buffer.partition(b"\0")
        message: dict[str, Any] = json.loads(text)
        return message

    def _take(self, event: dict[str, Any]) -> None:
        page = self._pages.get(event.get("sessionId", ""))
        if page is not None:
            page.take(event["method"], event["params"])

    def forget(self, page: "Page") -> None:
        """A page was closed."""
        self._pages.pop(page.session, None)


class Page:
    """One page.

    Attributes:
        problems: errors that the page logged, exceptions, and what its security policy refused.
        requests: every address that it requested.
    """

    def __init__(self, browser: Browser, session: str, context: str) -> None:
        self.browser, self.session, self.context = browser, session, context
        self.problems: list[str] = []
        self.requests: list[str] = []

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Call a method of the protocol on this page."""
        return self.browser.call(method, self.session, **params)

    def prepare(self, width: int, height: int) -> None:
        """Listen to the page, and set its size."""
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")
        self.resize(width, height)

    def take(self, method: str, params: dict[str, Any]) -> None:
        """Keep what an event says."""
        if method == "Runtime.exceptionThrown":
            details = params["exceptionDetails"]
            self.problems.append(details.get("exception", details).get("description", str(details)))
        elif method == "Log.entryAdded" and params["entry"]["level"] == "error":
            self.problems.append(params["entry"]["text"] + " " + params["entry"].get("url", ""))
        elif method == "Network.requestWillBeSent":
            self.requests.append(params["request"]["url"])

    def go(self, address: str) -> None:
        """Open an address, and wait until it is loaded."""
        self.call("Page.navigate", url=address)
        self.wait("document.readyState === 'complete' && location.href !== 'about:blank'")

    def resize(self, width: int, height: int, scale: float = 1, touch: bool = False) -> None:
        """Set the size of the window, its pixel ratio, and whether it is a phone's."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=scale,
            mobile=touch,
        )
        self.call("Emulation.setTouchEmulationEnabled", enabled=touch)

    def prefer(self, scheme: str) -> None:
        """Set the user's colour scheme, "light" or "dark"."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def run(self, code: str) -> Any:
        """The value of a JavaScript expression; promises are waited for."""
        answer = self.call(
            "Runtime.evaluate", expression=code, awaitPromise=True, returnByValue=True
        )
        assert "exceptionDetails" not in answer, answer["exceptionDetails"]
        return answer["result"].get("value")

    def wait(self, condition: str, seconds: float = SECONDS) -> Any:
        """Wait until an expression is true, and return its value.

        Raises:
            TimeoutError: it does not come true.
        """
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            value = self.run(condition)
            if value:
                return value
            time.sleep(POLL_SECONDS)
        raise TimeoutError(f"not within {seconds:g} s: {condition}; {self.problems}")

    def text(self, selector: str) -> str:
        """The text of an element as it is shown."""
        return str(self.run(f"document.querySelector({json.dumps(selector)}).innerText"))

    def box(self, selector: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of an element in the window, scrolled into it."""
        found = self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            "e.scrollIntoView({block: 'nearest', behavior: 'instant'});"
            "const b = e.getBoundingClientRect(); return [b.left, b.top, b.width, b.height]; })()"
        )
        left, top, width, height = found
        return left, top, width, height

    def middle(self, selector: str) -> tuple[float, float]:
        """The middle of an element."""
        left, top, width, height = self.box(selector)
        return left + width / 2, top + height / 2

    def click(self, selector: str, count: int = 1) -> None:
        """Click an element; a second time for a double click."""
        x, y = self.middle(selector)
        for number in range(1, count + 1):
            for kind in ("mousePressed", "mouseReleased"):
                self.mouse(kind, x, y, clickCount=number)

    def mouse(self, kind: str, x: float, y: float, **more: Any) -> None:
        """One event of the mouse."""
        self.call(
            "Input.dispatchMouseEvent",
            type=kind,
            x=x,
            y=y,
            **({"button": "left", "buttons": 1} | more),
        )

    def drag(self, start: tuple[float, float], stop: tuple[float, float]) -> None:
        """Press the mouse, move it, and release it."""
        self.mouse("mousePressed", *start, clickCount=1)
        self.mouse("mouseMoved", *((a + b) / 2 for a, b in zip(start, stop, strict=True)))
        self.mouse("mouseMoved", *stop)
        self.mouse("mouseReleased", *stop, clickCount=1)

    def wheel(self, x: float, y: float, turn: float) -> None:
        """Turn the wheel; negative turns zoom in."""
        self.mouse("mouseWheel", x, y, button="none", buttons=0, deltaX=0, deltaY=turn)

    def touch(self, kind: str, points: Sequence[tuple[float, float]]) -> None:
        """One event of fingers: "touchStart", "touchMove" or "touchEnd"."""
        places = [{"x": x, "y": y, "id": number} for number, (x, y) in enumerate(points)]
        self.call("Input.dispatchTouchEvent", type=kind, touchPoints=places)

    def key(self, key: str) -> None:
        """Press and release a key: a character, or a name of `KEYS`."""
        code = KEYS.get(key, ord(key.upper()) if len(key) == 1 else 0)
        text = {"text": key} if len(key) == 1 else {}
        if key == "Enter":
            text = {"text": "\r"}
        for kind in ("keyDown", "keyUp"):
            more = text if kind == "keyDown" else {}
            self.call(
                "Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **more
            )

    def focus(self, selector: str) -> None:
        """Give an element the focus."""
        self.run(f"document.querySelector({json.dumps(selector)}).focus()")

    def slide(self, selector: str, value: float) -> None:
        """Set a slider or a number, with the events that a user's input has."""
        self.run(
            f"(() => {{ const e = document.querySelector({json.dumps(selector)});"
            f"e.value = {value}; for (const kind of ['input', 'change'])"
            "e.dispatchEvent(new Event(kind, {bubbles: true})); })()"
        )

    def choose_files(self, selector: str, paths: Sequence[Path]) -> None:
        """Choose files, or one folder, in a file input."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path) for path in paths])

    def drop(self, selector: str, paths: Sequence[Path]) -> None:
        """Drop files on an element."""
        x, y = self.middle(selector)
        data = {"items": [], "files": [str(path) for path in paths], "dragOperationsMask": 1}
        for kind in ("dragEnter", "dragOver", "drop"):
            self.call("Input.dispatchDragEvent", type=kind, x=x, y=y, data=data)

    def screenshot(self) -> bytes:
        """The window as a PNG file."""
        return base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"])

    def close(self) -> None:
        """Close the page and forget its user."""
        self.browser.call("Target.disposeBrowserContext", browserContextId=self.context)
        self.browser.forget(self)
