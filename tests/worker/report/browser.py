"""A headless Chromium, driven by its DevTools: what it shows, asks for and complains of."""

import base64
import json
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.request import urlopen

import websocket

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
START_S = 60.0


def chromium() -> str | None:
    """Path of a Chromium; None if there is none."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


class Tab:
    """One tab; every console message, exception and request since its start is kept."""

    def __init__(self, url: str) -> None:
        self._socket = websocket.create_connection(url, timeout=START_S, suppress_origin=True)
        self._ids = 0
        self.console: list[str] = []
        self.requests: list[str] = []
        for domain in ("Page", "Runtime", "Network", "Log", "DOM"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send a command and return its answer; note events that come before it."""
        self._ids += 1
        self._socket.send(json.dumps({"id": self._ids, "method": method, "params": parameters}))
        while True:
            message = json.loads(self._socket.recv())
            if message.get("id") == self._ids:
                assert "error" not in message, message
                answer: dict[str, Any] = message["result"]
                return answer
            self._note(message)

    def _note(self, event: dict[str, Any]) -> None:
        method, told = event.get("method"), event.get("params", {})
        if method in {"Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded"}:
            self.console.append(json.dumps(told)[:500])
        if method == "Network.requestWillBeSent":
            self.requests.append(told["request"]["url"])

    def show(self, page: Path, *, width: int, dark: bool = False, printed: bool = False) -> None:
        """Open a page at a width of the window, in CSS pixels."""
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=900, deviceScaleFactor=1, mobile=width < 600,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        media = "print" if printed else "screen"
        self.call("Emulation.setEmulatedMedia", media=media, features=[scheme])
        self.call("Page.navigate", url=page.as_uri())
        deadline = time.monotonic() + START_S
        while self.value("document.readyState") != "complete":
            assert time.monotonic() < deadline
            time.sleep(0.05)

    def value(self, expression: str) -> Any:
        """Return the value of an expression, by the debugger: the page itself runs nothing."""
        answer = self.call("Runtime.evaluate", expression=expression, returnByValue=True)
        assert "exceptionDetails" not in answer, answer
        return answer["result"].get("value")

    def photograph(self, path: Path) -> None:
        """Write a PNG of the whole page."""
        answer = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=True)
        path.write_bytes(base64.b64decode(answer["data"]))

    def printed(self) -> bytes:
        """Return the page as PDF on A4."""
        answer = self.call("Page.printToPDF", paperWidth=8.27, paperHeight=11.69)
        return base64.b64decode(answer["data"])

    def close(self) -> None:
        """Close the connection."""
        self._socket.close()


@contextmanager
def browser(program: str) -> Iterator[Tab]:
    """Yield a tab of a fresh browser."""
    # A child of the browser may write a moment longer.
    with TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        process = subprocess.Popen(
            [
                program, "--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars",
                "--disable-dev-shm-usage", "--no-first-run", "--disable-background-networking",
                "--remote-debugging-port=0", "--remote-allow-origins=*",
                f"--user-data-dir={folder}", "about:blank",
            ],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )  # fmt: skip
        try:
            tab = Tab(_address(Path(folder) / "DevToolsActivePort", process))
            try:
                yield tab
            finally:
                tab.close()
        finally:
            process.terminate()
            process.wait(30)


def _address(port_file: Path, process: "subprocess.Popen[bytes]") -> str:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        assert process.poll() is None, "the browser ended"
        lines = port_file.read_text().splitlines() if port_file.exists() else []
        if len(lines) == 2:
            with urlopen(f"http://127.0.0.1:{lines[0]}/json/list", timeout=30) as answer:
                targets = json.load(answer)
            pages = [t for t in targets if t["type"] == "page"]
            if pages:
                return str(pages[0]["webSocketDebuggerUrl"])
        time.sleep(0.1)
    raise AssertionError("the browser did not start")
