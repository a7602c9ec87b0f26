"""Summarize a study: findings, accuracy of each checkpoint, training curves, changed weights."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import streamlit as st

from backend.analyses import accuracy, calibration
from backend.derived.texts import text_sets
from backend.figures import accuracy as figures
from backend.figures import calibration as calibration_figures
from backend.figures import direction as direction_figures
from backend.figures import training_log as training_figures
from backend.figures import weights as weights_figures
from backend.figures.style import thumbnail
from backend.reports import findings, summary
from backend.reports.evidence import Finding, direction_requests
from backend.study.comparison import compared
from backend.study.pinned import PinnedStudy
from backend.study.training_log import read_training_log
from backend.vocabulary.markdown import plain
from pages.frame import address, links, marked, needs, painted, picture, shell, work
from pages.parts import activation_differences, anything, ordered_label, steps

MORE = {"weights": "Changed weights", "calibration": "Calibration", "training": "Training curves"}
"""What stands below the findings, one at a time."""


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """Return the page's keys in the address: what is shown below, the scale of the weights, the checkpoints' axis."""
    return {
        "more": address.Choice([key for key in MORE if key != "calibration" or study.answering], "weights"),
        "weights": address.Choice(list(weights_figures.SCALES), "change"),
        **steps.choices(study),
    }


def draw(view: shell.View) -> None:
    """Draw the page."""
    st.title(plain(view.study.study.title))
    _what(view)
    for missing in view.study.missing:
        st.warning(f"**{plain(missing.label)}** is missing. {plain(missing.reason)}")
    for sentence in view.study.warnings:
        st.warning(plain(sentence))
    lead, beside = st.columns([11, 9], gap="medium")
    with lead:
        _lead(view)
    if painted.already():
        answers, more = st.columns([11, 9], gap="medium")
        if view.study.lacks("answers"):  # the picture takes the wider column
            answers, more = more, answers
        with answers:
            _answers(view)
        with beside:
            _findings(view)
        with more:
            _more(view)
        _classes(view)
        _compared(view)


def _what(view: shell.View) -> None:
    """Describe the study in two sentences."""
    study, facts = view.study, view.study.base.facts
    trained = len(study.checkpoints) - 1
    words = " or ".join(f"“{plain(word)}”" for word in view.words)
    does = {"answers": f" and answers {words}", "contrast": f", labelled {words}"}.get(study.study.kind, "")
    many = f"{trained} fine-tuned checkpoint{'' if trained == 1 else 's'}"
    st.markdown(
        f"One language model ({facts.architecture}, {facts.layers} blocks) before fine-tuning, called **base**, "
        f"{f'and {many}' if trained else 'and no fine-tuned checkpoint yet'}. Each reads the same "
        f"**{len(study.sample.text)} texts**{does}."
    )


def _classes(view: shell.View) -> None:
    """Show how label values, classes, label words, tokens and head rows match; open if the separator was inferred."""
    study = view.study
    if study.lacks("classes"):
        return
    title = "Classes" if study.lacks("answers") else "Classes, label words, and where the answer is read"
    with st.expander(title, expanded=study.separator_found):
        if study.separator_found:
            between = "a space" if study.separator == " " else "nothing"
            st.markdown(
                f"The study sets no separator. The label words are likelier after {between}, so the answer is read "
                "there. Set `prompt.separator` to change it."
            )
        rows = []
        for line in summary.classes(study):
            same = len(set(line.read.values())) == 1
            read = {"read at": next(iter(line.read.values()))} if same else line.read
            texts = {f"text {i}": text for i, text in enumerate(line.examples, 1)}
            read = {} if study.lacks("answers") else read
            rows.append({"label": line.value, "class": line.place, "word": line.word, **read, **texts})
        st.dataframe(rows, hide_index=True)


@shell.section
def _lead(view: shell.View) -> None:
    """Draw how every layer of every checkpoint holds the label, or moved; a click on a cell opens it."""
    _go()
    if not view.study.lacks("order"):
        ordered_label.heat(view, {"ordered-heat": lambda: _keep_cell(view, "ordered-heat")})
        return
    if view.study.lacks("classes"):
        texts = text_sets(view.study)[0]
        activation_differences.lead(view, texts, "all", lambda epoch, at: _keep("difference", epoch=epoch, at=at))
        return
    requests = direction_requests(compared(view.study, view.reference, view.drop_largest))
    results = view.results(requests, "Measuring the directions")
    if results is None:
        return
    at = len(view.words) - 1 if len(view.words) > 2 else 0
    key = "separation"
    picture.show(
        view,
        {key: direction_figures.heatmap(results, view.names, "separation", at)},
        direction_figures.LEAD_GUIDE,
        picture.rows(requests, results),
        "direction",
        {key: lambda: _keep_cell(view, key)},
    )


def _keep_cell(view: shell.View, key: str) -> None:
    """Remember the cell that was clicked, since a callback cannot change the page."""
    cell = address.clicked_cell(key)
    if cell is not None:
        _keep("layers", epoch=view.names[cell[0]], layer=str(cell[1]))


def _keep(page: str, **keys: str) -> None:
    st.session_state["_cell"] = (page, keys)


def _go() -> None:
    """Open the page of the cell that was clicked."""
    page, keys = st.session_state.pop("_cell", (None, {}))
    if page is not None:
        st.switch_page(str(Path(__file__).with_name(f"{page}.py")), query_params=links.kept() | keys)


@shell.section
def _findings(view: shell.View) -> None:
    """Show the findings, each with its values in small and a link to its picture."""
    case = compared(view.study, view.reference, view.drop_largest)
    results = findings.find(
        case,
        lambda requests: view.results(requests, "Looking for findings"),
        lambda requests: work.known(requests, view.lab),
    )
    if results is None:
        return
    with st.container():
        st.markdown("**What the numbers say**, with 95 % intervals")
        for i, result in enumerate(results):
            _finding(view, result, f"show-{i}")
        if not results:
            st.markdown("The numbers support no finding: the differences may be chance.")
    if painted.already() and work.known(requests := findings.costly(case), view.lab) is None:
        offer = "Find the block that carries the change"
        if work.on_demand(requests, view.lab, "Swapping one block at a time", offer, beyond=work.LONG_SECONDS):
            st.rerun()


def _finding(view: shell.View, one: Finding, key: str) -> None:
    """Show one finding; `key` is of its button, where the picture is on this page."""
    icon = ":orange[:material/warning:]" if one.warning else ":violet[:material/lightbulb:]"
    kept = {"study": view.study.study.name, "reference": view.reference.label, "epoch": view.checkpoint.label}
    massive = {"massive": "without"} if view.drop_largest else {}
    st.markdown(f"{icon} {plain(one.sentence)}")
    small, link = st.columns([3, 2], vertical_alignment="center")
    if drawn := thumbnail.image(one.series, one.at):
        small.html(drawn)
    look: dict[str, Any] = {"label": "Show it", "icon": ":material/arrow_forward:"}
    with link:
        if one.page:
            keys = one.keys | ({marked.KEY: one.picture} if one.picture else {})
            page = str(Path(__file__).with_name(f"{one.page}.py"))
            st.page_link(page, query_params=kept | massive | keys, **look)
        elif st.button(key=key, type="tertiary", on_click=_mark, args=(one,), **look):
            st.rerun()


def _mark(one: Finding) -> None:
    """Scroll to the picture of a finding that is on this page."""
    st.query_params.update(one.keys)
    marked.ask(one.picture)


@shell.section
def _answers(view: shell.View) -> None:
    """Draw the accuracy of each checkpoint."""
    st.subheader("How well does each checkpoint answer?")
    if needs.lacks(view, "answers", "Accuracy"):
        return
    steps.control(view)
    requests = [
        accuracy.recipe.request(accuracy.Query(checkpoint, view.study.prompts)) for checkpoint in view.study.checkpoints
    ]
    results = view.results(requests, "Reading the sample")
    if results is None:
        return
    picture.show(
        view,
        {"accuracy": figures.draw(results, steps.axis(view, view.study.checkpoints), view.words)},
        figures.GUIDE,
        picture.rows(requests, results),
        "accuracy",
    )
    picture.without_head(view.study.checkpoints)
    with st.expander("Accuracy in numbers"):
        st.table(figures.table(results, [plain(name) for name in view.names], view.words))


@shell.section
def _more(view: shell.View) -> None:
    """Draw one of the other pictures of the study."""
    chosen = view.control(
        st.segmented_control,
        "More of this study",
        "more",
        format_func=MORE.__getitem__,
        required=True,
        label_visibility="collapsed",
    )
    {"weights": anything.matrices, "calibration": _calibration, "training": _training}[chosen](view)


def _calibration(view: shell.View) -> None:
    """Draw the reliability curves of the checkpoints that answer."""
    answering = view.study.answering
    st.subheader("Does each checkpoint know how sure it is?")
    requests = [calibration.recipe.request(calibration.Query(one, view.study.prompts)) for one in answering]
    results = view.results(requests, "Comparing confidence with right answers")
    if results is None:
        return
    names, places = [one.label for one in answering], [view.place(one) for one in answering]
    curves = calibration_figures.reliability(results, names, places, len(view.names), len(view.words))
    picture.show(
        view, {"calibration": curves}, calibration_figures.GUIDE, picture.rows(requests, results), "calibration"
    )
    with st.expander("Calibration in numbers"):
        st.table(calibration_figures.table(results, [plain(name) for name in names]))
    st.markdown(calibration_figures.in_words(results[-1], plain(names[-1])))


def _training(view: shell.View) -> None:
    """Draw training curves, if `finetune` or another trainer left a log."""
    log = read_training_log(view.study.study)
    if log is None:
        st.info("There is no training log. `finetune` writes training.csv, a Trainer trainer_state.json.")
        return
    st.subheader("How did training go?")
    labels = [checkpoint.label for checkpoint in view.study.study.epochs]
    figures = training_figures.draw(log, len(view.words), labels)
    picture.show(view, figures, training_figures.guide(log), log.rows, None)


@shell.section
def _compared(view: shell.View) -> None:
    """Show the study in two tables."""
    now = time.time()
    facts = summary.compared(view.study, view.lab, now)
    with st.expander("What is compared?"):
        st.table([{"what": what, "is": plain(text)} for what, text in facts.items()])
        st.table([{key: plain(text) for key, text in row.items()} for row in summary.checkpoints(view.study, now)])


if __name__ == "__main__":
    shell.page(draw)
