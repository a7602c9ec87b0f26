"""Play the epochs in the browser: pictures follow without the server, which draws only those that cannot."""

from __future__ import annotations

from functools import cache
from typing import Any

import streamlit as st
from streamlit.components import v2

from pages.frame.links import LEAVING

FRAME_SECONDS = 1.6

PLAY = (
    LEAVING
    + """
const SIGNS = { play: "M3 1.5v11l9-5.5z", stop: "M2.5 2.5h9v9h-9z" };
const LATE = "[data-behind], .stMain [data-testid=stProgress]";
let given, tell, button, timer, at = null;

function show() {
    if (!button) return; // the page is being left
    const words = at === null ? "Play the epochs" : `Stop at ${given.names[at]}`;
    button.querySelector("path").setAttribute("d", at === null ? SIGNS.play : SIGNS.stop);
    button.querySelector("span").textContent = words;
}

/* Show an epoch; if a picture of the page lacks it, the server is asked, and the next one waits for its answer. */
function step() {
    at = given.plays.find(place => place > at);
    if (at === undefined) { stop(given.plays.at(-1)); return; }
    window.dispatchEvent(new CustomEvent("layershift:epoch", { detail: { at, names: given.names, from: "slider" } }));
    show();
    const asked = setTimeout(() => document.querySelector(LATE) && say(at), 200);
    timer = { asked, next: setTimeout(wait, given.milliseconds) };
}

function wait() {
    if (document.querySelector(LATE)) timer = { next: setTimeout(wait, 200) };
    else step();
}

function stop(place) {
    clearTimeout(timer?.asked);
    clearTimeout(timer?.next);
    at = null;
    show();
    if (given.names[place] !== given.epoch) say(place);
}

function say(place) {
    if (!leaving()) tell("epoch", given.names[place]);
}

export default function({ data, parentElement, setTriggerValue }) {
    given = data;
    tell = setTriggerValue;
    button = parentElement.querySelector("button");
    if (!button) return;
    button.onclick = () => {
        if (at !== null) { stop(at); return; }
        const here = given.names.indexOf(given.epoch);
        at = here < given.plays.at(-1) ? here : -1;
        step();
    };
    show();
}
"""
)

STYLE = """
button {
    display: flex; width: 100%; min-height: 40px; align-items: center; justify-content: center; gap: 8px;
    padding: 4px 12px; border: 1px solid var(--st-border-color); border-radius: var(--st-button-radius);
    background: var(--st-background-color); color: var(--st-text-color);
    font: 14px/1.4 var(--st-font); cursor: pointer;
}
button:hover { border-color: var(--st-primary-color); color: var(--st-primary-color); }
button:focus-visible { outline: 2px solid #7a5cd6; outline-offset: 2px; }
svg { width: 14px; height: 14px; fill: currentColor; flex: none; }
"""
BODY = '<button type="button"><svg viewBox="0 0 14 14" aria-hidden="true"><path d=""/></svg><span></span></button>'


@cache
def _component() -> Any:
    return v2.component("layershift_playing", html=BODY, css=STYLE, js=PLAY)


def mount(names: list[str], plays: list[str], epoch: str) -> None:
    """Show the button. `names` are all checkpoints, `plays` those that are played, `epoch` is the chosen one."""

    def stopped() -> None:
        label = st.session_state["play"].get("epoch")
        if label in names:
            st.query_params["epoch"] = label

    places = [names.index(label) for label in plays]
    data = {"names": names, "plays": places, "epoch": epoch, "milliseconds": round(1000 * FRAME_SECONDS)}
    _component()(key="play", data=data, on_epoch_change=stopped)
