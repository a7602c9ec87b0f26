"""Link the pages: each link keeps the study and the epoch, and what was chosen on the page that it leads to."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import streamlit as st

from pages.frame import marked

if TYPE_CHECKING:
    from backend.study.kinds import Need

FOLDER = Path(__file__).parents[1]

KEPT = ("study", "epoch", "reference", "massive")
"""Keys that mean the same on every page; links keep them."""
NEXT = {
    "": ("layers", "At which layer do the classes part?"),
    "layers": ("swaps", "Which block carries the change?"),
    "swaps": ("tokens", "Which words moved?"),
    "tokens": ("review", "How does each checkpoint read your own text?"),
    "review": ("features", "Which features does the model use?"),
    "features": ("difference", "What did training teach, and what else did it change?"),
    "difference": ("probes", "What can be read out at each layer?"),
    "probes": ("", "What do all numbers say together?"),
}
"""The page and the question that follow each page."""
WITHOUT_CLASSES = {"layers": "Where does each layer place the texts?"}
"""The question that leads to a page if the study has no classes."""
LEAVING = """
window.layershiftLeaves ??= (() => {
    const note = link => {
        const patience = link?.pathname === location.pathname ? 5000 : 20000;
        if (link) window.layershiftLeft = [location.href, performance.now() + patience];
    };
    const at = target => target?.closest?.("a[data-testid^=stPageLink]");
    document.addEventListener("click", ({ target }) => note(at(target)), true);
    const focused = at(document.activeElement);  // clicked before any component was there
    if (focused?.pathname !== location.pathname) note(focused);
    return true;
})();
const leaving = () => {
    const [from, until] = window.layershiftLeft ?? [];
    return from === location.href && performance.now() < until;
};
"""
"""Whether a link has been clicked and its page has not begun.

What a component then says on its own reaches the server as a wish to stay on the page, and the click is lost.
"""


@dataclass(frozen=True)
class Page:
    """A page of the navigation: the module's name in pages/, its title, and what a study needs for it."""

    name: str
    title: str
    needs: Need | None = None

    @property
    def file(self) -> str:
        """The file that Streamlit runs."""
        return str(FOLDER / f"{self.name}.py")

    def load(self) -> Any:
        """Return the module. Modules of other pages, and all that they import, would delay the first page."""
        return import_module(f"pages.{self.name}")


def to_pages(pages: Iterable[Any], lacking: Mapping[str, str]) -> None:
    """Show links between pages that keep the study, the epoch, and what was chosen on each page.

    `lacking` says, by path, what the study lacks for a page, whose link is then dimmed.
    """
    st.markdown("### Layershift")
    for one in pages:
        dimmed = lacking.get(one.url_path)
        st.page_link(
            one,
            label=f":gray[{one.title}]" if dimmed else None,
            help=dimmed,
            query_params=(kept() | _own_state().get(one.url_path, {})) or None,
        )


def kept() -> dict[str, str]:
    """Return what the address holds of the keys that mean the same on every page."""
    return {key: value for key in KEPT if (value := st.query_params.get(key))}


def _own_state() -> dict[str, dict[str, str]]:
    """Return the keys of its own that each page had when this session last saw it, by the path of the page."""
    return st.session_state.setdefault("_own_state", {})


def to_next(pages: Mapping[str, Any], path: str, lacking: Mapping[str, str], has_classes: bool) -> None:
    """End the page with the question that comes next, as a link that keeps what was chosen; skip `lacking` pages."""
    if path in NEXT:
        to, question = NEXT[path]
        while to in lacking:
            to, question = NEXT[to]
        question = question if has_classes else WITHOUT_CLASSES.get(to, question)
        st.divider()
        st.page_link(
            pages[to],
            label=f"Next: {question}",
            icon=":material/arrow_forward:",
            query_params=(kept() | _own_state().get(to, {})) or None,
        )


def remember(path: str) -> None:
    """Remember what the address holds for this page alone."""
    own = {key: said for key, said in st.query_params.to_dict().items() if key not in (*KEPT, marked.KEY)}
    _own_state()[path] = own
