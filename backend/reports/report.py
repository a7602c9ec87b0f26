"""Write a study as one HTML file: what was compared, findings, and every picture with guide and numbers."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from backend.caching.memoize import Request
from backend.errors import LayershiftError, UndefinedError
from backend.lab.lab import Lab
from backend.reports import summary
from backend.reports.export import Viewpoint, Watch, command, replacing
from backend.reports.page import Section, page, sentences, table
from backend.reports.sections import NEEDS, SECTIONS
from backend.study.comparison import Comparison, compared
from backend.study.pinned import PinnedStudy
from backend.vocabulary.markdown import plain

R = TypeVar("R")


def write_report(pinned: PinnedStudy, lab: Lab, out: Path, watch: Watch, viewpoint: Viewpoint) -> Path:
    """Write the report to the file `out`. Raises LayershiftError when it cannot be written or computed."""
    viewpoint.check(pinned)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        if out.is_dir():
            raise IsADirectoryError(0, "it is a folder")
        html = report(pinned, lab, watch, viewpoint)
        with replacing(out) as part:
            part.write_text(html, encoding="utf-8")
    except OSError as error:
        raise LayershiftError(f"{out} cannot be written ({error.strerror}); choose another --out.") from None
    return out


def report(pinned: PinnedStudy, lab: Lab, watch: Watch, viewpoint: Viewpoint) -> str:
    """The report as HTML, its results from the cache or computed now, under a progress bar for each section."""
    viewpoint.check(pinned)
    case = compared(pinned, pinned.checkpoint(viewpoint.reference), viewpoint.drop_largest)
    layer = pinned.base.facts.layers if viewpoint.layer is None else viewpoint.layer
    results = [_compared(case, lab, viewpoint)]
    for name, make in SECTIONS.items():
        if lacking := NEEDS.get(name) and pinned.lacks(NEEDS[name]):
            results.append(Section(f"{name}-undefined", name.capitalize(), [sentences([plain(lacking)])]))
            continue
        with watch(name) as progress:
            watched = lab.watched(progress)

            def ask(requests: Sequence[Request[R]], lab: Lab = watched) -> list[R]:
                return [request(lab.part(i, len(requests))) for i, request in enumerate(requests)]

            try:
                for one in make(case, ask, layer):
                    results += [] if one is None else [one]
            except UndefinedError as error:
                results.append(Section(f"{name}-undefined", name.capitalize(), [sentences([plain(str(error))])]))
    written = datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC")
    last = case.names[case.last]
    return page(
        pinned.study.title, f"Layershift report of {written}: {last} compared with {case.reference.label}.", results
    )


def _compared(case: Comparison, lab: Lab, viewpoint: Viewpoint) -> Section:
    facts = {"compared with": case.reference.label} | summary.compared(case.study, lab, None)
    if case.drop_largest:
        facts["left out"] = f"at every layer the {case.drop_largest} largest dimensions of {case.reference.label}"
    facts["the same numbers"] = command(case.study.study.name, None, viewpoint)
    said = [f"**{plain(missing.label)}** {plain(missing.reason)}" for missing in case.study.missing]
    said += [f"**Warning:** {plain(sentence)}" for sentence in case.study.warnings]
    return Section(
        "compared",
        "What is compared",
        [
            table([{"what": what, "is": text} for what, text in facts.items()]),
            table(summary.checkpoints(case.study, None)),
            *([sentences(said)] if said else []),
        ],
    )
