"""Send what is typed into a text area to the server while the user types, without a key combination."""

from __future__ import annotations

from functools import cache
from typing import Any

from streamlit.components import v2

PAUSE_MS = 300
"""How long after the last key the text is sent."""

LISTEN = """
export default function({ data }) {
    const within = `.st-key-${CSS.escape(data.key)}`;
    let timer, sent = false, begun = false;
    const others = url => {
        const keys = new URL(url, location.href).searchParams;
        keys.delete(data.key);
        return `${new URL(url, location.href).pathname}?${keys}`;
    };
    const push = history.pushState;
    history.pushState = function (state, title, url) { // Back leads to before the typing, not through every pause of it
        const typed = sent && url && others(url) === others(location.href), again = typed && begun;
        if (typed) [sent, begun] = [false, true];
        return again ? history.replaceState(state, title, url) : push.call(history, state, title, url);
    };
    const entered = event => { if (event.target.matches?.(`${within} textarea`)) begun = false; };
    const typed = (event) => {
        const area = event.target;
        if (event.isComposing || !area.matches?.(`${within} textarea`)) return;
        clearTimeout(timer);
        timer = setTimeout(() => {
            sent = true;
            const keys = { key: "Enter", code: "Enter", ctrlKey: true, metaKey: true, bubbles: true };
            area.dispatchEvent(new KeyboardEvent("keydown", keys));
        }, data.pause);
    };
    const style = document.createElement("style");
    style.textContent = `${within} [data-testid="InputInstructions"] { display: none; }`;
    document.head.append(style);
    document.addEventListener("input", typed, true);
    document.addEventListener("focusin", entered);
    return () => {
        clearTimeout(timer);
        style.remove();
        document.removeEventListener("input", typed, true);
        document.removeEventListener("focusin", entered);
        history.pushState = push;
    };
}
"""
"""Presses Ctrl+Enter for the user, as Streamlit expects it; what is typed meanwhile stays in the box."""


@cache
def _component() -> Any:
    return v2.component("layershift_live", js=LISTEN)


def typing(key: str) -> None:
    """Send the text area of that key 300 ms after the last key."""
    _component()(key=f"live-{key}", data={"key": key, "pause": PAUSE_MS})
