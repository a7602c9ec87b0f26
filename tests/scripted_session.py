"""A browser session without a browser: Streamlit's own messages over a web socket, loopback only.

It does what the page's script does: opens an address, runs fragments again while they ask for it, and holds
the elements that the server has sent.
"""

from __future__ import annotations

import hashlib
import json
import time
from types import TracebackType
from typing import Any

from streamlit.proto.BackMsg_pb2 import BackMsg
from streamlit.proto.Delta_pb2 import Delta
from streamlit.proto.ForwardMsg_pb2 import ForwardMsg
from streamlit.runtime.state.session_state import STREAMLIT_INTERNAL_KEY_PREFIX
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

Place = tuple[int, ...]
POLL_SECONDS, QUIET_SECONDS = 0.05, 0.2


class Session:
    """One open page at `address` (host:port); `close` ends it."""

    def __init__(self, address: str) -> None:
        self._socket = connect(
            f"ws://{address}/_stcore/stream",
            origin=f"http://{address}",  # pyright: ignore[reportArgumentType]
            subprotocols=["streamlit"],  # pyright: ignore[reportArgumentType]
            max_size=None,
            open_timeout=60,
        )
        self.elements: dict[Place, Any] = {}
        self._repeats: dict[str, tuple[float, float]] = {}
        self._page = self._query = self._shown = ""
        self._running, self._finished = False, 0.0
        self._fresh: set[Place] = set()
        self._answered: set[str] = set()

    def __enter__(self) -> Session:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """End the session as a closed tab does."""
        self._socket.close()

    def open(self, page: str, query: str = "", patience: float = 300.0) -> float:
        """Open a page and wait until no bar is left; return the seconds until its last element came.

        AssertionError if the page shows an error, the server ends the session, or `patience` seconds are over.
        """
        started = time.perf_counter()
        self.begin(page, query)
        while self._running or self.bars or self._receives(QUIET_SECONDS) or self._say_painted():
            assert time.perf_counter() < started + patience, f"{page} is not there after {patience:.0f} s"
            if not self._receives(POLL_SECONDS) and not self._running:
                self._say_painted()
                self._repeat()
        assert not self.errors, self.errors
        return self._finished - started

    def begin(self, page: str, query: str = "") -> None:
        """Open a page, and wait for nothing."""
        self.elements.clear()
        self._repeats.clear()
        self._running, self._page, self._query = True, page, query
        self._rerun()

    @property
    def errors(self) -> list[str]:
        """The errors that the page shows, and uncaught exceptions."""
        alerts = [one.alert.body for one in self._of("alert") if one.alert.format == one.alert.ERROR]
        return alerts + [one.exception.message for one in self._of("exception")]

    @property
    def bars(self) -> int:
        """How many progress bars the page shows."""
        return len(self._of("progress"))

    @property
    def pictures(self) -> dict[str, str]:
        """A digest of each picture's numbers, by its title."""
        specs = [json.loads(one.plotly_chart.spec) for one in self._of("plotly_chart") if one.plotly_chart.spec]
        for spec in specs:
            for held in ("frames", "filmed"):  # of other epochs: those whose results were known at that time
                spec["layout"].get("meta", {}).get("epochs", {}).pop(held, None)
        return {
            str(spec["layout"].get("title", {}).get("text", place)): hashlib.sha256(
                json.dumps(spec, sort_keys=True).encode()
            ).hexdigest()
            for place, spec in enumerate(specs)
        }

    def _of(self, kind: str) -> list[Any]:
        return [element for _, element in sorted(self.elements.items()) if element.WhichOneof("type") == kind]

    def _rerun(self, fragment: str = "") -> None:
        message = BackMsg()
        message.rerun_script.query_string = self._query
        if fragment:
            message.rerun_script.page_script_hash = self._shown
        else:
            message.rerun_script.page_name = self._page
        message.rerun_script.fragment_id = fragment
        message.rerun_script.is_auto_rerun = bool(fragment)
        self._socket.send(message.SerializeToString())

    def _say_painted(self) -> bool:
        """Answer a page that waits until its first picture is painted; return whether one did."""
        waits = next((one.id for one in map(_component, self.elements.values()) if one is not None), None)
        if waits is None or waits in self._answered:
            return False
        self._answered.add(waits)
        message = BackMsg()
        message.rerun_script.query_string = self._query
        message.rerun_script.page_script_hash = self._shown
        state = message.rerun_script.widget_states.widgets.add()
        state.id = f"{STREAMLIT_INTERNAL_KEY_PREFIX}_{waits}__events"
        state.json_trigger_value = json.dumps([{"event": "painted", "value": True}])
        self._running = True
        self._socket.send(message.SerializeToString())
        return True

    def _repeat(self) -> None:
        """Ask for the fragments again that are due."""
        now = time.perf_counter()
        for name, (due, interval) in list(self._repeats.items()):
            if due <= now:
                self._repeats[name] = (now + interval, interval)
                self._rerun(name)

    def _receives(self, seconds: float) -> bool:
        """Apply the next message; return whether one came within these seconds."""
        try:
            data = self._socket.recv(timeout=seconds)
        except TimeoutError:
            return False
        except ConnectionClosed as error:
            raise AssertionError(f"{self._page}: the server ended the session ({error})") from None
        message = ForwardMsg()
        message.ParseFromString(data if isinstance(data, bytes) else data.encode())
        self._take(message)
        return True

    def _take(self, message: ForwardMsg) -> None:
        match message.WhichOneof("type"):
            case "new_session":
                self._running = True
                self._fresh.clear()
                if not message.metadata.run.fragment_ids:
                    self._repeats.clear()
            case "navigation":
                self._shown = message.navigation.page_script_hash
            case "delta":
                self._place(tuple(message.metadata.delta_path), message.delta)
            case "auto_rerun":
                interval = message.auto_rerun.interval
                self._repeats[message.auto_rerun.fragment_id] = (time.perf_counter() + interval, interval)
            case "stop_auto_rerun":
                for fragment in message.stop_auto_rerun.fragment_ids:
                    self._repeats.pop(fragment, None)
            case "script_finished":
                self._running, self._finished = False, time.perf_counter()
                if not message.metadata.run.fragment_ids:
                    self.elements = {path: one for path, one in self.elements.items() if path in self._fresh}
            case _:
                pass

    def _place(self, path: Place, delta: Delta) -> None:
        """Put an element at its place; a block removes what an earlier run left there."""
        is_element = delta.WhichOneof("type") == "new_element"
        for other in [other for other in self.elements if other[: len(path)] == path]:
            if is_element or other not in self._fresh:
                del self.elements[other]
        if is_element:
            self.elements[path] = delta.new_element
            self._fresh.add(path)


def _component(element: Any) -> Any:
    """Return the component that waits for the paint, None for any other element."""
    waits = element.WhichOneof("type") == "bidi_component" and element.bidi_component.component_name.endswith("painted")
    return element.bidi_component if waits else None
