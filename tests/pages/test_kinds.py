"""Studies without answers, without labels, of three classes and of pairs: every page at every view."""

from __future__ import annotations

import pytest

from backend.study.chat import ChatTemplate
from backend.study.config import CheckpointRef, Message, Study
from backend.study.kinds import UNASKED, UNLABELLED, Kind
from pages import difference, features, overview, probes, review, swaps, tokens
from pages.parts import layer_details, review_tokens, similarity
from tests.fake_pairs import fake_pairs
from tests.pages.conftest import Opens, World, charts

VIEWS = [
    *(("overview", {"more": more}) for more in overview.MORE),
    ("layers", {"epoch": "epoch 1"}),
    *(("layers", {"show": show}) for show in layer_details.SHOWN),
    *(("layers", {"show": "similarity", "similarity": part}) for part in similarity.PARTS),
    *(("probes", {"show": show}) for show in probes.SHOWN),
    *(("swaps", {"mode": mode}) for mode in swaps.MODES),
    *(("tokens", {"show": show}) for show in tokens.SHOWN),
    *(("features", {"show": show}) for show in features.SHOWN),
    *(("features", {"more": more}) for more in features.MORE),
    *(("difference", {"show": show}) for show in difference.SHOWN),
    *(("difference", {"show": show, "texts": "sample", "part": "mlp", "how": "steer"}) for show in difference.SHOWN),
    *(("review", {"text": "The script drags.", "show": show}) for show in review.SHOWN),
    *(("review", {"text": "The script drags.", "heat": heat}) for heat in review_tokens.HEATS),
]


def pages_at(opens: Opens, page: str, text: str = "The script drags.") -> None:
    """Open every view of a page, and expect no error on it."""
    for at, address in VIEWS:
        if at == page:
            typed = {"text": text} if "text" in address else {}
            test = opens(page, study="other", **(address | typed))
            assert not [one.value for one in test.error], (page, address)


@pytest.mark.parametrize("page", sorted({page for page, _ in VIEWS}))
@pytest.mark.parametrize(("kind", "classes"), [("contrast", 3), ("texts", 1), ("ordered", 5)])
def test_every_view_is_drawn_or_says_what_to_add(world: World, opens: Opens, page: str, kind: Kind, classes: int):
    world.add("other", classes, kind)
    pages_at(opens, page)


@pytest.mark.parametrize("page", sorted({page for page, _ in VIEWS}))
def test_a_contrast_of_a_base_and_one_checkpoint(world: World, opens: Opens, page: str):
    """All checkpoints are then the pair that is compared."""
    world.add("other", 2, "contrast", epochs=1)
    pages_at(opens, page)


@pytest.mark.parametrize("page", sorted({page for page, _ in VIEWS}))
def test_three_classes_of_pairs(world: World, opens: Opens, page: str):
    world.add("other", 3)
    world.studies["other"] = fake_pairs(world.folder / "other")
    pages_at(opens, page, "The script drags.\nIt is slow.")


@pytest.mark.parametrize(("kind", "dimmed"), [("contrast", ["Swaps"]), ("texts", ["Probes", "Swaps"])])
def test_pages_that_need_more_are_dimmed_and_say_what_to_add(world: World, opens: Opens, kind: Kind, dimmed: list[str]):
    world.add("other", 1 if kind == "texts" else 2, kind)
    test = opens("swaps", study="other", mode="single")
    labels = [link.proto.label for link in test.get("page_link")]
    assert sorted(label for label in labels if label.startswith(":gray[")) == [f":gray[{name}]" for name in dimmed]
    wanted = UNASKED.replace("This", "A swap") if kind == "contrast" else "add dataset.label and prompt.label_words"
    assert any(wanted in one.value.replace("\\", "") for one in test.info)
    if kind == "texts":
        test = opens("layers", study="other", show="direction")
        said = [one.value.replace("\\", "") for one in test.info]
        assert UNLABELLED.replace("This", "The distance between classes") in said


@pytest.mark.parametrize(
    ("kind", "leads", "heat", "following"),
    [
        (
            "texts",
            "activation-overview",
            None,
            ["layers", "tokens", "review", "features", "difference", "", "", "tokens"],
        ),
        ("ordered", "ordered-heat", "ordered-heat", ["layers", "tokens"]),
        ("contrast", "separation", "direction-heat", ["layers", "tokens"]),
    ],
)
def test_the_first_picture_and_the_next_question_fit_the_study(
    world: World, opens: Opens, kind: Kind, leads: str, heat: str | None, following: list[str]
):
    world.add("other", {"texts": 1, "ordered": 5}.get(kind, 2), kind)
    pages = ["overview", "layers", "tokens", "review", "features", "difference", "probes", "swaps"]
    for page, to in zip(pages, following, strict=False):
        test = opens(page, study="other")
        (link,) = [one.proto for one in test.get("page_link") if one.proto.label.startswith("Next: ")]
        assert link.page == to, page
        drawn = [*charts(test)]
        if page == "overview":
            assert drawn[0] == leads
            assert ("classes" in link.label) == (kind == "contrast")
        if page == "layers":
            assert (heat in drawn) if heat else not {"ordered-heat", "direction-heat"} & {*drawn}


def test_a_cell_of_the_mean_change_opens_the_difference(world: World, opens: Opens):
    world.add("other", 1, "texts")
    test = opens("overview", study="other")
    test.session_state["_cell"] = ("difference", {"epoch": "epoch 1", "at": "2"})
    test.run()
    assert test.title[0].value == "Difference: base and epoch 1"
    assert test.select_slider(key="at").value == "2"


def test_the_overview_says_whose_chat_template_the_base_borrows(world: World, opens: Opens):
    world.add("other", 2, "contrast")
    study = world.studies["other"]
    assert isinstance(study, Study)
    messages = (Message(role="user", content="Review: {text}"),)
    prompt = study.prompt.model_copy(update={"template": "", "messages": messages})
    world.studies["other"] = study.model_copy(update={"prompt": prompt})
    of_fakes = world.models.chat_template

    def of_checkpoints(ref: CheckpointRef, base: CheckpointRef) -> ChatTemplate | None:
        return None if ref == base else of_fakes(ref, base)

    def said() -> bool:
        return any("rendered by that of epoch 1: base" in one.value for one in opens(study="other").warning)

    assert not said()
    world.models.chat_template = of_checkpoints  # type: ignore[method-assign]
    assert said()


def test_an_ordered_label_leads_with_its_rank_correlation(world: World, opens: Opens):
    world.add("other", 5, "ordered")
    test = opens(study="other")
    assert "ordered-heat" in charts(test)
    assert any("Spearman" in spec for spec in charts(test).values())
    test = opens("layers", study="other")
    assert "ordered-curves" in charts(test)
    mapped = charts(opens("layers", study="other", show="map"))
    assert all("colorbar" in mapped[name] for name in ("map-reference", "map-chosen")), "maps are coloured by the value"
    test = opens("probes", study="other")
    assert any("remove dataset.ordered" in one.value.replace("\\", "") for one in test.info)


@pytest.mark.parametrize(("stated", "warned"), [(None, True), (False, False)])
def test_numbers_that_may_be_an_order_are_shown_as_a_choice(
    world: World, opens: Opens, stated: bool | None, warned: bool
):
    world.add("other", 3, "contrast")
    study = world.studies["other"]
    assert isinstance(study, Study)
    dataset = study.dataset.model_copy(update={"ordered": stated})
    world.studies["other"] = study.model_copy(update={"dataset": dataset})
    said = [one.value.replace("\\", "") for one in opens(study="other").warning]
    assert any("(0, 1, 2) are compared as classes; set dataset.ordered" in one for one in said) == warned
