"""Make one page of HTML that needs no network: folding sections, pictures and tables, for screen and paper."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape, unescape
from typing import Any

from backend.figures.style import following, html, scrubber
from backend.figures.style.guide import Guide
from backend.vocabulary.markdown import APART

_MARKS = re.compile(r"\\([\\`*_\[\]~$|#&:.)+-])|[*]{2}((?:\\.|[^\\])+?)[*]{2}")
"""A sign after a backslash, or what stands between two pairs of stars."""

STYLE = """
:root { color-scheme: light dark; --ink: #1b2330; --soft: #566072; --ground: #fff; --panel: #f3f4f7; --line: #d5d9e0;
  --link: #0b5cad; }
@media (prefers-color-scheme: dark) { :root { --ink: #e7eaf0; --soft: #a9b3c3; --ground: #12151b; --panel: #1e232c;
  --line: #363e4b; --link: #82b9f5; } }
@media print { :root { --ink: #000; --soft: #333; --ground: #fff; --panel: #fff; --line: #999; --link: #000; } }
body { font: 15px/1.55 system-ui, sans-serif; color: var(--ink); background: var(--ground); max-width: 1180px;
  margin: 2rem auto; padding: 0 1.2rem; }
h1 { font-size: 1.8rem; margin: 0 0 .3rem; overflow-wrap: anywhere; } a { color: var(--link); }
nav { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; margin: 1rem 0 1.6rem; }
summary { cursor: pointer; } summary:focus-visible, a:focus-visible { outline: 2px solid var(--link); }
section > details > summary { font-size: 1.3rem; font-weight: 600; padding: .5rem 0;
  border-top: 1px solid var(--line); }
section > details > summary h2 { display: inline; font: inherit; }
.soft, .guide { color: var(--soft); } .guide { max-width: 100ch; margin: .2rem 0 .8rem; }
.guide p { margin: .2rem 0; } .pair { display: flex; flex-wrap: wrap; gap: 1rem; }
.pair > .plot, .side { flex: 1 1 420px; min-width: min(420px, 100%); }
.findings { background: var(--panel); border: 1px solid var(--line); border-radius: 6px;
  padding: .7rem 1.2rem .7rem 2.2rem; }
.wide { overflow-x: auto; margin: .4rem 0 1.2rem; } table { border-collapse: collapse; font-size: .88rem; }
th, td { text-align: left; padding: .25rem .8rem .25rem 0; border-bottom: 1px solid var(--line); vertical-align: top;
  overflow-wrap: anywhere; } td { font-variant-numeric: tabular-nums; min-width: 4em; }
@media print { nav { display: none } .pair { break-inside: avoid } .wide { overflow: visible } body { margin: 0 }
  tr { break-inside: avoid } }
"""
SCRIPT = """
const dark = window.matchMedia('(prefers-color-scheme: dark)');
const drawn = () => window.dispatchEvent(new Event('layershift:drawn'));
let paper = false;
const look = () => ({'font.color': !paper && dark.matches ? '#e7eaf0' : '#1b2330'});
const options = {displaylogo: false, responsive: true, toImageButtonOptions: {format: 'png', scale: 2},
  modeBarButtonsToRemove: ['zoom2d', 'pan2d', 'autoScale2d', 'zoomIn2d', 'zoomOut2d']};
const plots = [...document.querySelectorAll('.plot')];
const draw = plot => {
  if (plot.done || !plot.offsetWidth) return;
  plot.done = true;
  watcher.unobserve(plot);
  const {data, layout} = JSON.parse(plot.querySelector('script').textContent);
  layout.paper_bgcolor = layout.plot_bgcolor = 'rgba(0,0,0,0)';
  layout.font = {family: 'system-ui, sans-serif', size: 12, color: look()['font.color']};
  const screen = document.createElement('div');
  plot.append(screen);
  Plotly.newPlot(screen, data, layout, options).then(drawn);
  plot.screen = screen;
};
const watcher = new IntersectionObserver(
  seen => seen.forEach(one => one.isIntersecting && draw(one.target)), {rootMargin: '900px'});
plots.forEach(plot => watcher.observe(plot));
const repaint = () => plots.forEach(plot => plot.screen && Plotly.relayout(plot.screen, look()).then(drawn));
dark.addEventListener('change', repaint);
window.addEventListener('beforeprint', () => {
  paper = true;
  document.querySelectorAll('section > details, details.guide').forEach(one => { one.open = true; });
  plots.forEach(draw);
  repaint();
});
window.addEventListener('afterprint', () => { paper = false; repaint(); });
"""


@dataclass(frozen=True)
class Section:
    """A part of the page that folds; `parts` are HTML already."""

    name: str
    title: str
    parts: Sequence[str]
    opened: bool = True


def page(title: str, subtitle: str, sections: Iterable[Section]) -> str:
    """Return the page. Only its own scripts may run, and nothing may be fetched."""
    nonce = secrets.token_urlsafe(16)
    shown = list(sections)
    allowed = f"default-src 'none'; script-src 'nonce-{nonce}'; style-src 'unsafe-inline'; img-src data: blob:"
    links = "".join(f'<a href="#{section.name}">{escape(section.title)}</a>' for section in shown)
    return "\n".join(
        [
            '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
            f'<meta http-equiv="Content-Security-Policy" content="{allowed}">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>",
            f'<header><h1>{escape(title)}</h1><p class="soft">{escape(subtitle)}</p></header>',
            f'<nav aria-label="Sections">{links}</nav>',
            "<noscript><p>The pictures need JavaScript; the numbers are in the tables.</p></noscript>\n<main>",
            *map(_folding, shown),
            f'</main>\n<script nonce="{nonce}">{html.plotly_js()}</script>',
            f'<script nonce="{nonce}">{SCRIPT}</script>',
            f'{scrubber.style()}<script nonce="{nonce}">{scrubber.script()}\n{following.script()}</script>',
            "</body>\n</html>\n",
        ]
    )


def _folding(section: Section) -> str:
    opened = " open" if section.opened else ""
    inside = "\n".join(section.parts)
    return (
        f'<section id="{section.name}"><details{opened}><summary><h2>{escape(section.title)}</h2></summary>\n'
        f"{inside}\n</details></section>"
    )


def picture(figures: Sequence[Any], guide: Guide) -> str:
    """Return figures side by side, with their common reading guide below them."""
    return f'<div class="pair">{"".join(map(_plot, figures))}</div>\n{reading(guide)}'


def moving(data: Mapping[str, Any], epoch: str, reference: str, guide: Guide) -> str:
    """Return points that move with a slider of their own, which begins at `epoch`, with their reading guide."""
    return f"{scrubber.embedded(data, {'epoch': epoch, 'reference': reference})}\n{reading(guide)}"


def pictures(guided: Iterable[tuple[Any, Guide]]) -> str:
    """Return figures side by side, each with a reading guide of its own."""
    sides = "".join(f'<div class="side">{_plot(figure)}\n{reading(guide)}</div>' for figure, guide in guided)
    return f'<div class="pair">{sides}</div>'


def _plot(figure: Any) -> str:
    """Return a figure; its label for screen readers is its title."""
    return (
        f'<div class="plot" role="img" aria-label="{_spoken(str(figure.layout.title.text))}" '
        f'style="min-height:{figure.layout.height or 300}px">'
        f'<script type="application/json">{html.embedded(figure)}</script></div>'
    )


def reading(guide: Guide) -> str:
    """Return a guide: its two sentences, and the rest folded."""
    short = f'<p class="guide">{escape(guide.short)}</p>'
    if not guide.more:
        return short
    return f'{short}<details class="guide"><summary>How to read this</summary><p>{escape(guide.more)}</p></details>'


def _spoken(title: str) -> str:
    """The title of a figure, which is plotly's HTML, as the value of an attribute."""
    return escape(" ".join(unescape(re.sub("<[^>]*>", " ", title)).split()))


def sentences(lines: Iterable[str], kind: str = "") -> str:
    """Return a list of sentences in which `**` makes bold; users' words have gone through `markdown.plain`."""
    return f'<ul class="{kind}">' + "".join(f"<li>{_marked(escape(line))}</li>" for line in lines) + "</ul>"


def _marked(line: str) -> str:
    """The line with bold parts as tags, and signs after a backslash as themselves."""
    bold = _MARKS.sub(lambda match: match[1] or f"<strong>{_marked(match[2])}</strong>", line)
    return bold.replace(APART, "")


def table(rows: Sequence[Mapping[str, Any]], folded: str | None = None) -> str:
    """Return rows as a table, each interval in brackets after its value; `folded` is the title if it folds."""
    if not rows:
        return ""
    names = [name for name in rows[0] if not _is_end(name, rows[0])]
    head = "".join(f'<th scope="col">{escape(name.replace("_", " "))}</th>' for name in names)
    body = "".join("<tr>" + "".join(f"<td>{_cell(row, name)}</td>" for name in names) + "</tr>" for row in rows)
    drawn = f'<div class="wide"><table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table></div>'
    return drawn if folded is None else f"<details><summary>{escape(folded)}</summary>{drawn}</details>"


def _is_end(name: str, row: Mapping[str, Any]) -> bool:
    return name.endswith(("_low", "_high")) and name.rpartition("_")[0] in row


def _cell(row: Mapping[str, Any], name: str) -> str:
    said = _number(row[name])
    low, high = row.get(f"{name}_low"), row.get(f"{name}_high")
    return f"{said} ({_number(low)} to {_number(high)})" if low is not None and high is not None else said


def _number(value: Any) -> str:
    return "" if value is None else f"{value:.4g}" if isinstance(value, float) else escape(str(value))
