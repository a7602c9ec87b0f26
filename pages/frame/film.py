"""Have pictures of one epoch follow the others while an epoch is dragged: what differs there is sent with them.

Finished pictures are kept for all sessions, because drawing those of every epoch is most of what a page costs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from backend.caching.memoize import Request
from backend.caching.memory import Memory
from backend.figures.style import following
from pages.frame import painted, work
from pages.frame.identity import Identity
from pages.frame.shell import View

MOST_EPOCHS = 32
KEPT_BYTES = 64 * 2**20
Asked = Callable[[View], Sequence[Request[Any]] | None]
Drawn = Callable[[View, list[Any]], Mapping[str, Any]]
_finished = Memory(KEPT_BYTES)


def over_epochs(view: View, asked: Asked, results: Sequence[Any], drawn: Drawn) -> dict[str, Any]:
    """Return the pictures of the view, by key, which hold those of every other epoch whose results are known.

    `asked` returns the requests of a view (None if it has no such picture), `results` are those of this view, `drawn`
    draws the results of a view, and depends on these and on what it encloses only.
    Nothing is computed; a picture that lacks an epoch is dimmed while that epoch is dragged to. Pictures whose key
    ends in `-reference` are of the reference, and stay.
    """
    if not painted.already():
        return dict(drawn(view, [*results]))
    known: dict[str, tuple[View, list[Any]]] = {view.checkpoint.label: (view, [*results])}
    others = [one for one in view.study.checkpoints if one not in (view.checkpoint, view.reference)]
    for one in others[-MOST_EPOCHS:]:
        at = replace(view, checkpoint=one)
        requests = asked(at)
        if requests and (found := work.known(requests, view.lab)) is not None:
            known[one.label] = (at, found)
    identity = Identity.of(drawn, view, {label: found for label, (_, found) in known.items()})
    kept = None if identity is None else _finished.get(identity.text)
    if kept is not None and kept[0].holds():
        return dict(kept[1])
    pictures = _drawn(view, known, drawn)
    if identity is not None:
        pictures = {key: following.Finished(figure) for key, figure in pictures.items()}
        _finished.put(identity.text, (identity, pictures), sum(one.size for one in pictures.values()))
    return dict(pictures)


def _drawn(view: View, known: Mapping[str, tuple[View, list[Any]]], drawn: Drawn) -> dict[str, Any]:
    """Draw the pictures of all epochs, and put them into those of the view."""
    pictures = {epoch: drawn(at, found) for epoch, (at, found) in known.items()}
    chosen = view.checkpoint.label
    return {
        key: figure
        if key.endswith("-reference")
        else following.film({epoch: of[key] for epoch, of in pictures.items() if key in of}, chosen)
        for key, figure in pictures[chosen].items()
    }
