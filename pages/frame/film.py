"""Have pictures of one epoch follow the others while an epoch is dragged: what differs there is sent with them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from backend.caching.memoize import Request
from backend.figures.style import following
from pages.frame import painted, work
from pages.frame.shell import View

MOST_EPOCHS = 32
Asked = Callable[[View], Sequence[Request[Any]] | None]
Drawn = Callable[[View, list[Any]], Mapping[str, Any]]


def over_epochs(view: View, asked: Asked, results: Sequence[Any], drawn: Drawn) -> dict[str, Any]:
    """Return the pictures of the view, by key, which hold those of every other epoch whose results are known.

    `asked` returns the requests of a view (None if it has no such picture), `results` are those of this view, `drawn`
    draws the results of a view.
    Nothing is computed; a picture that lacks an epoch is dimmed while that epoch is dragged to. Pictures whose key
    ends in `-reference` are of the reference, and stay.
    """
    chosen = drawn(view, [*results])
    if not painted.already():
        return dict(chosen)
    pictures = {view.checkpoint.label: chosen}
    others = [one for one in view.study.checkpoints if one not in (view.checkpoint, view.reference)]
    for one in others[-MOST_EPOCHS:]:
        at = replace(view, checkpoint=one)
        requests = asked(at)
        if requests and (found := work.known(requests, view.lab)) is not None:
            pictures[one.label] = drawn(at, found)
    return {
        key: figure
        if key.endswith("-reference")
        else following.film({epoch: of[key] for epoch, of in pictures.items() if key in of}, view.checkpoint.label)
        for key, figure in chosen.items()
    }
