"""Firefox, driven over WebDriver BiDi: Playwright drives only a Firefox of its own."""

from __future__ import annotations

import json
import queue
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread
from typing import IO, Any, Final

import websocket

PATIENCE_S: Final = 120.0
"""How long it waits for what a page is to show, and for Firefox to start; machines differ."""
_LISTENS: Final = "WebDriver BiDi listening on "
_KEYS: Final = {
    "Enter": "\ue007",
    "Escape": "\ue00c",
    "Home": "\ue011",
    "End": "\ue010",
    "Shift": "\ue008",
    "Space": " ",
    "Control": "\ue009",
    "ArrowDown": "\ue015",
    "ArrowRight": "\ue014",
}


class Firefox:
    """One tab. `complaints` are the errors and warnings that pages wrote to the console."""

    def __init__(self, address: str) -> None:
        self.complaints: list[str] = []
        self._number = 0
        self._socket = websocket.create_connection(f"{address}/session", timeout=PATIENCE_S, suppress_origin=True)
        self._ask("session.new", capabilities={})
        self._ask("session.subscribe", events=["log.entryAdded"])
        self._tab = self._ask("browsingContext.getTree")["contexts"][0]["context"]

    def close(self) -> None:
        self._ask("browser.close")
        self._socket.close()

    def open(self, address: str) -> None:
        self._ask("browsingContext.navigate", context=self._tab, url=address, wait="complete")

    def evaluate(self, expression: str) -> Any:
        """The value of an expression of JavaScript, or of its promise, as JSON has it."""
        answer = self._ask(
            "script.evaluate",
            expression=f"(async () => JSON.stringify(await ({expression})) ?? 'null')()",
            target={"context": self._tab},
            awaitPromise=True,
        )
        assert answer["type"] == "success", answer["exceptionDetails"]["text"]
        return json.loads(answer["result"]["value"])

    def wait_for(self, condition: str) -> None:
        """Wait until an expression of JavaScript is true in the page."""
        look = (
            f"const look = () => ({condition}) ? done(true) : Date.now() > until ? done(false) : setTimeout(look, 20)"
        )
        started = f"const until = Date.now() + {PATIENCE_S * 500}; {look}; look();"
        assert self.evaluate(f"new Promise(done => {{ {started} }})"), f"not in Firefox: {condition}"

    def click(self, selector: str) -> None:
        """Click on the first element that is shown and that the selector matches, as with a mouse.

        Keys press no button here: a headless window has no focus, so a page gets the keys, and no click follows.
        """
        found = f"[...document.querySelectorAll({json.dumps(selector)})].find(each => each.checkVisibility())"
        self.wait_for(f"{found} !== undefined")
        place = f"(each => (each.scrollIntoView({{block: 'center'}}), each.getBoundingClientRect()))({found})"
        x, y = self.evaluate(f"(({{x, y, width, height}}) => [x + width / 2, y + height / 2])({place})")
        at = {"type": "pointerMove", "x": round(x), "y": round(y)}
        steps = [at, {"type": "pointerDown", "button": 0}, {"type": "pointerUp", "button": 0}]
        mouse = {"type": "pointer", "id": "mouse", "actions": steps}
        self._ask("input.performActions", context=self._tab, actions=[mouse])

    def press_on(self, selector: str, *keys: str) -> None:
        """Focus the first element that is shown and that the selector matches, and press keys."""
        found = f"[...document.querySelectorAll({json.dumps(selector)})].find(each => each.checkVisibility())"
        self.wait_for(f"{found} !== undefined")
        self.evaluate(f"{found}.focus()")
        self.press(*keys)

    def press(self, *keys: str) -> None:
        """Each key, or several held together as `Shift+Enter`."""
        actions = []
        for key in keys:
            parts = [_KEYS.get(part, part) for part in ([key] if len(key) == 1 else key.split("+"))]
            actions += [{"type": "keyDown", "value": part} for part in parts]
            actions += [{"type": "keyUp", "value": part} for part in reversed(parts)]
        self._ask(
            "input.performActions", context=self._tab, actions=[{"type": "key", "id": "keys", "actions": actions}]
        )

    def _ask(self, method: str, **params: Any) -> Any:
        self._number += 1
        self._socket.send(json.dumps({"id": self._number, "method": method, "params": params}))
        while True:
            said = json.loads(self._socket.recv())
            if said["type"] == "event":
                if said["method"] == "log.entryAdded" and said["params"]["level"] in {"error", "warn"}:
                    self.complaints.append(str(said["params"]["text"]))
            elif said.get("id") == self._number:
                assert said["type"] == "success", said
                return said["result"]


@contextmanager
def running_firefox(program: str, profile: Path) -> Iterator[Firefox]:
    """Start it without a window, with an empty profile; it has ended afterwards."""
    command = [program, "--headless", "--no-remote", "--profile", str(profile), "--remote-debugging-port", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        found: queue.Queue[str] = queue.Queue()
        reader = Thread(target=_read, args=(process.stderr, found))
        reader.start()
        try:
            firefox = Firefox(found.get(timeout=PATIENCE_S))
            yield firefox
            firefox.close()
            process.wait(PATIENCE_S)
        finally:
            process.kill()
            reader.join()


def _read(stderr: IO[str], found: queue.Queue[str]) -> None:
    """To its end, as a pipe that is full would stop the program."""
    for line in stderr:
        if _LISTENS in line:
            found.put(line.partition(_LISTENS)[2].strip())
