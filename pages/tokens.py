"""Show which words training moved: ranked tokens with neighbours, word groups against chance, and maps."""

from __future__ import annotations

from typing import Any

import streamlit as st

from backend.analyses import token_groups, token_map, token_neighbours, token_shift
from backend.caching.memoize import Request
from backend.derived.token_counts import count_query
from backend.figures import map as reviews_map_figures
from backend.figures import token_groups as groups_figures
from backend.figures import token_map as map_figures
from backend.figures import token_neighbours as neighbours_figures
from backend.figures import token_shift as shift_figures
from backend.study.pinned import PinnedStudy
from backend.vocabulary import lexicon
from backend.vocabulary.markdown import plain
from pages.frame import address, film, picture, shell, work
from pages.parts import output_space

SHOWN = {"words": "Words", "shift": "All tokens", "groups": "Word groups", "map": "Map", "output": "Output space"}
MATRICES = {"input": "Input embedding", "output": "Unembedding"}
RANKED, LISTED, WORDS = 30, 100, 16


def choices(study: PinnedStudy) -> dict[str, address.Choice]:
    """Return the page's keys in the address."""
    return {
        "show": address.Choice(list(SHOWN), "words"),
        "matrix": address.Choice(list(MATRICES), "input"),
        "measure": address.Choice(list(shift_figures.NAMES), "l2_centred"),
        "search": address.Text(most=60),
        "method": address.Choice(list(map_figures.NAMES), "tsne"),
        "scope": address.Choice(list(map_figures.SCOPES), "words"),
        **output_space.choices(study),
    }


def draw(view: shell.View) -> None:
    """Draw the page."""
    alone = view.checkpoint == view.reference
    st.title(plain(f"Tokens: {view.both if alone else f'from {view.reference.label} to {view.checkpoint.label}'}"))
    for missing in view.study.missing:
        st.warning(plain(missing.reason))
    if view.reference == view.checkpoint:
        st.info("Reference and chosen checkpoint are the same. Choose another epoch.")
        return
    _parts(view)


@shell.section
def _parts(view: shell.View) -> None:
    """Draw the chosen part; its widgets redraw only that part."""
    shown = view.part(SHOWN)
    {"words": _words, "shift": _shift, "groups": _groups, "map": _map, "output": output_space.draw}[shown](view)


def _words(view: shell.View) -> None:
    requests = [token_shift.recipe.request(_shift_query(view))]
    results = view.results(requests, "Comparing the rows of all tokens")
    if results is None:
        return
    result, measure = results[0], "l2_centred"
    ids = shift_figures.words_moved(result, "input", measure, WORDS)
    if not ids:
        st.info("The vocabulary has no whole words after a space. Choose “All tokens”.")
        return
    near = [token_neighbours.recipe.request(token_neighbours.Query(view.checkpoint, view.reference, tuple(ids)))]
    found = view.results(near, "Looking for the nearest tokens")

    def drawn(then: shell.View, found: list[token_shift.Result]) -> dict[str, Any]:
        title = f"{then.checkpoint.label}: words that moved most for their frequency"
        moved = shift_figures.words_moved(found[0], "input", measure, WORDS)
        return {"token-words": shift_figures.words(found[0], "input", measure, moved, title)}

    bars, beside = st.columns(2, gap="medium")
    with bars:
        ratio = result.against_frequency(measure, "input")
        picture.show(
            view,
            film.over_epochs(view, lambda then: [token_shift.recipe.request(_shift_query(then))], results, drawn),
            shift_figures.WORDS_GUIDE,
            lambda: [
                {"checkpoint": view.checkpoint.label, **result.row(i), "against_frequency": float(ratio[i])}
                for i in ids
            ],
            "token_shift",
        )
    if found is not None:
        with beside:
            st.markdown("**Their nearest tokens, before and after**")
            st.table(shift_figures.near_words(found[0]))


def _shift(view: shell.View) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        matrix, measure = _measured(view)
        _search(view)
    requests = [token_shift.recipe.request(_shift_query(view))]
    results = view.results(requests, "Comparing the rows of all tokens")
    if results is None:
        return
    result = results[0]
    _say_if_tied(matrix, result.tied)
    search = view.value("search")
    ids = shift_figures.chosen(result, matrix, measure, search, LISTED)
    if not ids:
        st.info(f"No token contains “{plain(search)}”. A word may be several tokens, so try a part of it.")
        return
    rows = picture.rows(requests, results)

    def ranked(then: shell.View, found: list[token_shift.Result]) -> dict[str, Any]:
        listed = shift_figures.chosen(found[0], matrix, measure, search, RANKED)
        title = f"{then.checkpoint.label}: {'tokens found' if search else 'most moved tokens'}"
        return {"token-ranked": shift_figures.ranked(found[0], matrix, measure, listed, title)}

    title = f"{view.checkpoint.label}: all tokens by frequency"
    marked = ids[:8] if search else []
    picture.show(
        view,
        {
            **film.over_epochs(view, lambda then: [token_shift.recipe.request(_shift_query(then))], results, ranked),
            "token-frequency": shift_figures.by_frequency(result, matrix, measure, marked, title, len(ids[:RANKED])),
        },
        shift_figures.guide(result),
        rows,
        "token_shift",
    )
    _near(view, matrix, result, ids)


def _measured(view: shell.View) -> tuple[str, str]:
    """Return the chosen matrix and measure."""
    many: dict[str, Any] = {"required": True}
    matrix = view.control(st.segmented_control, "Matrix", "matrix", format_func=MATRICES.__getitem__, **many)
    names = shift_figures.NAMES
    return matrix, view.control(st.segmented_control, "Measure", "measure", format_func=names.__getitem__, **many)


def _say_if_tied(matrix: str, tied: bool) -> None:
    if matrix == "output" and tied:
        st.info(
            "Input embedding and unembedding are one matrix, or a model has no unembedding. "
            "The numbers are those of the input embedding."
        )


def _groups(view: shell.View) -> None:
    with st.container(horizontal=True, vertical_alignment="bottom"):
        matrix, measure = _measured(view)
    own = lexicon.own_words(view.study.study.lexicon)

    def asked(then: shell.View) -> list[Request[token_groups.Result]]:
        query = token_groups.Query(then.checkpoint, then.reference, count_query(then.study), own)
        return [token_groups.recipe.request(query)]

    def drawn(then: shell.View, found: list[token_groups.Result]) -> dict[str, Any]:
        title = f"{then.checkpoint.label}: word groups"
        return {"token-groups": groups_figures.draw(found[0], matrix, measure, title)}

    requests = asked(view)
    results = view.results(requests, "Drawing random groups")
    if results is None:
        return
    result = results[0]
    _say_if_tied(matrix, "output_l2" not in result.measures)
    picture.show(
        view,
        film.over_epochs(view, asked, results, drawn),
        groups_figures.guide(result),
        picture.rows(requests, results),
        "token_groups",
    )
    names = [plain(name) for name in result.groups]
    lines = [groups_figures.in_words(result, name, matrix, measure, g) for g, name in enumerate(names)]
    st.markdown("\n".join(f"- {line}" for line in lines))
    if not own:
        st.caption("Positive and negative words are from VADER. Add your own lists under [lexicon] in study.toml.")


def _near(view: shell.View, matrix: Any, result: token_shift.Result, ids: list[int]) -> None:
    """Show the table of the same tokens, with their neighbours when they are computed."""
    which: Any = "input" if result.tied else matrix

    def asked(then: shell.View) -> list[Request[token_neighbours.Result]]:
        query = token_neighbours.Query(then.checkpoint, then.reference, tuple(ids), which)
        return [token_neighbours.recipe.request(query)]

    def drawn(then: shell.View, found: list[token_neighbours.Result]) -> dict[str, Any]:
        title = f"{then.checkpoint.label}: neighbours kept"
        return {"token-neighbours": neighbours_figures.draw(found[0], title, RANKED)}

    requests = asked(view)
    results = view.results(requests, "Looking for the nearest tokens")
    picture.table(
        view,
        "tokens",
        shift_figures.table(result, matrix, ids, results[0] if results else None),
        shift_figures.TABLE_GUIDE,
        lambda: [{"checkpoint": view.checkpoint.label, **result.row(i)} for i in ids],
        "token_shift",
        height=420,
        widths=shift_figures.WIDTHS,
    )
    if results is None:
        return
    picture.show(
        view,
        film.over_epochs(view, asked, results, drawn),
        neighbours_figures.GUIDE,
        picture.rows(requests, results),
        "token_neighbours",
    )


def _map(view: shell.View) -> None:
    many: dict[str, Any] = {"required": True}
    with st.container(horizontal=True, vertical_alignment="bottom"):
        scope: Any = view.control(
            st.segmented_control, "Tokens", "scope", format_func=map_figures.SCOPES.__getitem__, **many
        )
        method: Any = view.control(
            st.segmented_control, "Method", "method", format_func=map_figures.NAMES.__getitem__, **many
        )
        matrix: Any = view.control(st.segmented_control, "Matrix", "matrix", format_func=MATRICES.__getitem__, **many)
        _search(view)
    own, counted = lexicon.own_words(view.study.study.lexicon), count_query(view.study)

    def asked(then: shell.View) -> list[Request[token_map.Result]]:
        queries = [token_map.Query(method, scope, one, then.reference, counted, own, matrix) for one in then.pair]
        return [token_map.recipe.request(query) for query in queries]

    requests = asked(view)
    what = f"Placing {map_figures.SCOPES[scope]} by {map_figures.NAMES[method]}"
    offer = f"Place {view.study.base.facts.vocabulary:,} tokens"
    results = work.on_demand(requests, view.lab, what, offer, beyond=work.LONG_SECONDS)
    if results is None:
        return
    result = results[-1]
    _say_if_tied(matrix, result.tied)
    search = view.value("search")
    hits = map_figures.matches(result, search)
    if search and not hits:
        st.info(f"No token on this map contains “{plain(search)}”.")

    def drawn(then: shell.View, found: list[token_map.Result]) -> dict[str, Any]:
        title = f"{then.checkpoint.label}: {map_figures.SCOPES[scope]}, arrows from {then.reference.label}"
        return {"token-map": map_figures.draw(found[1], found[0], title, hits, f"{scope} {method} {matrix}")}

    picture.show(
        view,
        film.over_epochs(view, asked, results, drawn),
        map_figures.GUIDES[method],
        picture.rows(requests, results),
        "token_map" if (method == "pca" or scope == "words") and matrix == "input" else None,
    )
    verdict = reviews_map_figures.verdict(result.drift, result.noise_floor) if result.noise_floor else ""
    st.markdown(map_figures.in_words(result, plain(view.checkpoint.label), verdict))


def _search(view: shell.View) -> None:
    choice: Any = view.choices["search"]
    address.text_box("Search for a token", "search", choice, make=st.text_input, placeholder="film, or a token's id")


def _shift_query(view: shell.View) -> token_shift.Query:
    own = lexicon.own_words(view.study.study.lexicon)
    return token_shift.Query(view.checkpoint, view.reference, count_query(view.study), own)


if __name__ == "__main__":
    shell.page(draw)
