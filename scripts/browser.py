"""A real browser, asked one thing at a time: chromium, by pipe, in its remote debugging protocol.

It is Debian's (apt-get install chromium), on a new profile, and asks nobody in the background.
"""

import base64
import json
import os
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

SECONDS = 90.0
_FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--hide-scrollbars", "--remote-debugging-pipe"),
)
_WIDTH = "document.documentElement.scrollWidth"


class Browser:
    """A page in chromium, asked one thing at a time.

    Args:
        reading, writing: the ends of its pipes.
    """

    def __init__(self, reading: int, writing: int) -> None:
        self._reading, self._writing = os.fdopen(reading, "rb"), os.fdopen(writing, "wb")
        self._numbers = count(1)
        self._session: dict[str, str] = {}
        self.logged: list[str] = []

    def open(self, url: str) -> None:
        """Open a page, and attach to it."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        attached = self.call("Target.attachToTarget", targetId=target, flatten=True)
        self._session = {"sessionId": attached["sessionId"]}
        for domain in ("Log", "Page", "Runtime"):
            self.call(f"{domain}.enable")
        self.call("Page.navigate", url=url)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Return a method's result; what the page logs meanwhile is kept."""
        number = next(self._numbers)
        asked = {"id": number, "method": method, "params": params, **self._session}
        self._writing.write(json.dumps(asked).encode() + b"\0")
        self._writing.flush()
        while True:
            said = json.loads(self._message())
            if said.get("id") == number:
                if "error" in said:
                    raise RuntimeError(f"{method}: {said['error']}")
                return dict(said["result"])
            if said.get("method") in ("Log.entryAdded", "Runtime.exceptionThrown"):
                self.logged.append(json.dumps(said["params"])[:500])

    def evaluate(self, script: str) -> Any:
        """Return what an expression is worth in the page."""
        return self.call("Runtime.evaluate", expression=script)["result"].get("value")

    def until(self, script: str) -> None:
        """Return once an expression is true.

        Raises:
            TimeoutError: it stays false.
        """
        ends = time.monotonic() + SECONDS
        while self.evaluate(script) is not True:
            if time.monotonic() > ends:
                raise TimeoutError(script)
            time.sleep(0.1)

    def prefer(self, scheme: str) -> None:
        """Have the page see that somebody prefers ``light`` or ``dark``."""
        features = [{"name": "prefers-color-scheme", "value": scheme}]
        self.call("Emulation.setEmulatedMedia", features=features)

    def press(self, key: str, code: int, text: str = "") -> None:
        """Press a key, as a keyboard does."""
        said = {"key": key, "windowsVirtualKeyCode": code, "text": text}
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, **said)

    def picture(self, path: Path, width: int, height: int, *, whole: bool = True) -> None:
        """Write what a window of this size shows, down to the page's end or the window's own.

        Raises:
            RuntimeError: the page is wider than the window.
        """
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self.call("Emulation.setDeviceMetricsOverride", **size)
        found = self.evaluate(_WIDTH)
        if found > width:
            raise RuntimeError(f"{path.name}: the page is {found} wide, the window {width}")
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(shot["data"]))
        print(path)

    def close(self) -> None:
        """End it, and whatever it has started."""
        self._session = {}
        self.call("Browser.close")

    def _message(self) -> bytes:
        message = bytearray()
        while not message.endswith(b"\0"):
            if not (piece := self._reading.read(1)):
                raise RuntimeError("the browser has ended")
            message += piece
        return bytes(message[:-1])


@contextmanager
def browsing() -> Iterator[Browser]:
    """Run chromium while inside, on a profile that is thrown away."""
    # Its helpers write for a moment after it has ended.
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        yield from _browsing(profile)


def _browsing(profile: str) -> Iterator[Browser]:
    (asked, ask), (answer, answered) = os.pipe(), os.pipe()

    # Where it looks for them, whatever numbers they have here.
    pipes = f'exec "$@" 3<&{asked} 4>&{answered}'
    flags = (*_FLAGS, f"--user-data-dir={profile}")
    process = subprocess.Popen(
        ["bash", "-c", pipes, "bash", "chromium", *flags],
        pass_fds=(asked, answered),
        stderr=subprocess.DEVNULL,
    )
    browser = Browser(answer, ask)
    try:
        yield browser
    finally:
        browser.close()
        process.wait(SECONDS)
