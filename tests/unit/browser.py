"""A headless browser for tests, driven in its own protocol: what a page shows and asks for."""

from __future__ import annotations

import base64
import itertools
import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import websocket

PATIENCE_S = 60.0


class Browser:
    """A browser that runs from its making to `close`. folder: where it keeps what it writes."""

    def __init__(self, program: str, folder: Path) -> None:
        self._log = (folder / "browser.log").open("w+")
        self._process = subprocess.Popen(
            [
                program,
                "--no-sandbox",  # root has none
                "--disable-gpu",
                "--remote-debugging-port=0",
                f"--user-data-dir={folder / 'profile'}",
                "about:blank",
            ],
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,  # what Debian calls the browser is a shell that starts it
        )
        try:
            self._socket = websocket.create_connection(self._address(), timeout=PATIENCE_S, suppress_origin=True)
        except BaseException:
            self.close()
            raise
        self._numbers = itertools.count(1)
        self.events: list[Mapping[str, Any]] = []

    def _address(self) -> str:
        ends = time.monotonic() + PATIENCE_S
        while time.monotonic() < ends:
            self._log.seek(0)
            said = self._log.read()
            if match := re.search(r"DevTools listening on (ws://\S+)", said):
                return match[1]
            if self._process.poll() is not None:
                raise RuntimeError(f"the browser ended with {self._process.returncode}: {said}")
            time.sleep(0.2)
        raise TimeoutError("the browser does not say where it listens")

    def call(self, method: str, session: str | None = None, **parameters: Any) -> Mapping[str, Any]:
        """Ask for something; the answer. Events that come before it are kept."""
        number = next(self._numbers)
        message = {"id": number, "method": method, "params": parameters}
        self._socket.send(json.dumps(message | ({"sessionId": session} if session else {})))
        while True:
            told = json.loads(self._socket.recv())
            if told.get("id") == number:
                if "error" in told:
                    raise RuntimeError(f"{method}: {told['error']}")
                return dict(told["result"])
            if "method" in told:
                self.events.append(told)

    def wait(self, method: str, **wanted: Any) -> Mapping[str, Any]:
        """The next event of this name whose parameters are so; one that has come already counts."""
        seen = 0
        while True:
            for told in self.events[seen:]:
                if told["method"] == method and wanted.items() <= told["params"].items():
                    return dict(told["params"])
            seen = len(self.events)
            told = json.loads(self._socket.recv())
            if "method" in told:
                self.events.append(told)

    def open(self, address: str, width: int, height: int) -> Tab:
        """A page, when it is all there, in a window of this size [CSS pixels]."""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        tab = Tab(self, str(session), target)
        for domain in ("Page", "Runtime", "Log", "Network"):
            tab.call(f"{domain}.enable")
        tab.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 600,
        )
        self.events.clear()
        tab.call("Page.navigate", url=address)
        self.wait("Page.loadEventFired")
        return tab

    def close(self) -> None:
        """End it, with all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()


class Tab:
    """A page in a browser."""

    def __init__(self, browser: Browser, session: str, target: str) -> None:
        self.browser = browser
        self._session = session
        self._target = target

    def call(self, method: str, **parameters: Any) -> Mapping[str, Any]:
        """Ask for something of this page."""
        return self.browser.call(method, self._session, **parameters)

    def value(self, expression: str) -> Any:
        """What an expression of JavaScript comes to on the page."""
        told = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in told, told
        return told["result"].get("value")

    def until(self, expression: str) -> Any:
        """What an expression comes to as soon as it is something; the browser does some things
        after it has answered.
        """
        ends = time.monotonic() + PATIENCE_S
        while not (found := self.value(expression)):
            if time.monotonic() > ends:
                raise TimeoutError(expression)
            time.sleep(0.1)
        return found

    def click(self, selector: str) -> None:
        """Bring an element into view and click the middle of it, or of its first line, with the
        mouse.
        """
        middle = (
            f"(() => {{ const each = document.querySelector({json.dumps(selector)});"
            " each.scrollIntoView({block: 'center', behavior: 'instant'});"
            " const box = each.getClientRects()[0];"
            " return [box.left + box.width / 2, Math.min(box.top + box.height / 2, innerHeight - 5)]; })()"
        )
        x, y = self.value(middle)
        for kind in ("mousePressed", "mouseReleased"):
            self.call("Input.dispatchMouseEvent", type=kind, x=x, y=y, button="left", clickCount=1)

    def press(self, key: str) -> None:
        """Press a key."""
        for kind in ("keyDown", "keyUp"):
            self.call("Input.dispatchKeyEvent", type=kind, key=key)

    def picture(self, path: Path, *, whole: bool = False) -> None:
        """What is seen as a PNG, or the whole page."""
        told = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole)
        path.write_bytes(base64.b64decode(told["data"]))

    def complaints(self) -> list[str]:
        """Errors and warnings that the page's console and the browser's log have told so far."""
        found = []
        for told in self.browser.events:
            parameters = told["params"]
            if told["method"] == "Runtime.exceptionThrown":
                found.append(str(parameters["exceptionDetails"]))
            if told["method"] == "Runtime.consoleAPICalled" and parameters["type"] in ("error", "warning", "assert"):
                found.append(str(parameters["args"]))
            if told["method"] == "Log.entryAdded" and parameters["entry"]["level"] in ("error", "warning"):
                found.append(str(parameters["entry"]))
        return found

    def asked(self) -> list[str]:
        """The addresses that were asked for so far."""
        return [
            str(told["params"]["request"]["url"])
            for told in self.browser.events
            if told["method"] == "Network.requestWillBeSent"
        ]

    def close(self) -> None:
        """Close it."""
        self.browser.call("Target.closeTarget", targetId=self._target)
