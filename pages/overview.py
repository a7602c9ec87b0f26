"""What is compared, how well each checkpoint answers, and what is still missing."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from backend.analyses import accuracy
from backend.figures import _theme
from backend.figures import accuracy as figures
from backend.lab import PinnedStudy
from pages import _address, _frame

TITLE = "Overview"


def choices(study: PinnedStudy) -> dict[str, _address.Choice]:
    """The page has no keys of its own."""
    return {}


def draw(view: _frame.View) -> None:
    """The page."""
    study = view.study.study
    st.title(study.title)
    st.markdown(
        f"{len(view.names)} checkpoints of one model read the same {len(view.study.sample.text)} texts, the same "
        f"number of each class, and answer with one of the words {', '.join(f'*{word}*' for word in view.words)}. "
        f"The pages on the left show what training changed between them."
    )
    for one in view.study.missing:
        st.warning(one.reason)
    _answers(view)
    _compared(view)


@_frame.section
def _answers(view: _frame.View) -> None:
    """Accuracy per checkpoint."""
    st.subheader("How well does each checkpoint answer?")
    wanted = [(accuracy.recipe, accuracy.Query(one, view.study.prompts)) for one in view.study.checkpoints]
    found = view.results(wanted, "Reading the sample")
    if found is None:
        return
    st.plotly_chart(figures.draw(found, view.names, view.words), key="accuracy", config=_theme.PLOT_CONFIG)
    st.caption(
        "Share of reviews whose largest logit among the label words is the right one, with 95 % intervals. Do not read "
        "recalls alone: a checkpoint that gives one answer to everything has a recall of 100 % there and 0 % elsewhere."
    )
    st.table(figures.table(found, view.names, view.words))


def _compared(view: _frame.View) -> None:
    """The study in a table."""
    study = view.study.study
    facts = view.study.base.facts
    st.subheader("What is compared?")
    where = study.dataset.path or f"{study.dataset.repo} ({study.dataset.split})"
    truncated = int(view.study.prompts.truncated.sum())
    st.table(
        [
            {"what": "model", "is": f"{facts.architecture}, {facts.layers} blocks, width {facts.width}"},
            {"what": "parameters", "is": f"{facts.parameters:,}"},
            {"what": "checkpoints", "is": ", ".join(view.names)},
            {"what": "texts", "is": f"{len(view.study.sample.text)} of {where}, seed {study.dataset.seed}"},
            {"what": "prompt", "is": f"`{study.prompt.template}`"},
            {"what": "cut", "is": f"{truncated} texts; the {study.prompt.keep} of a text is kept"},
            {"what": "device", "is": f"{view.lab.models.device}, {view.study.base.dtype}"},
        ]
    )
    for one in view.study.checkpoints[1:]:
        st.page_link(
            str(Path(__file__).with_name("layers.py")),
            label=f"Layers of {one.label} beside {view.reference.label}",
            icon=":material/layers:",
            query_params={"study": study.name, "epoch": one.label},
        )


if __name__ == "__main__":
    _frame.page(draw)
