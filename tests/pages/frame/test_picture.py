"""What stands below every picture: its guide, and downloads whose numbers are those that the command line exports."""

from __future__ import annotations

import csv
import io
import shlex
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

import backend.__main__ as command_line
from backend.figures import accuracy
from backend.figures.style import theme
from backend.lab.pinning import pin
from backend.vocabulary.markdown import plain
from pages.frame import picture, terms
from tests.pages.conftest import Opens, World, charts, settle


def opened(test: AppTest, key: str) -> AppTest:
    """The page with the popover of that picture open."""
    test.session_state[f"take-{key}"] = True
    return settle(test.run())


@pytest.fixture
def csvs(monkeypatch: pytest.MonkeyPatch) -> dict[str, tuple[str, Any]]:
    """Download buttons by key: the file's name and what makes it."""
    made: dict[str, tuple[str, Any]] = {}
    real = picture.st.download_button

    def noted(label: str, data: Any, file_name: str, mime: str, key: str, **more: Any) -> bool:
        made[key] = (file_name, data)
        return real(label, data, file_name, mime, key=key, **more)

    monkeypatch.setattr(picture.st, "download_button", noted)
    return made


def exported(world: World, command: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[dict[str, str]]:
    """Type the command, in `folder`, and read the CSV that it writes."""
    monkeypatch.setattr(command_line, "open_lab", lambda: world.lab)
    monkeypatch.setattr(command_line, "find_study", lambda name: world.studies[name])
    monkeypatch.chdir(folder)
    words = shlex.split(command)
    assert words[:3] == ["python", "-m", "backend"]
    assert command_line.main(words[3:]) == 0
    return read((folder / "out" / f"{words[words.index('--only') + 1]}.csv").read_text())


def read(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text, newline="")))


@pytest.mark.parametrize(
    ("key", "address", "rows"),
    [
        ("pca", {}, 2 * 5 * 36),
        ("pca", {"basis": "base", "massive": "without", "reference": "epoch 1", "epoch": "epoch 2"}, 2 * 5 * 36),
        ("direction-heat", {}, 4 * 5),
        ("direction-curves", {"reference": "epoch 2"}, 4 * 5),
        ("direction-curves", {"massive": "without", "epoch": "base"}, 4 * 5),
        ("cosine-curves", {"show": "cosines", "reference": "epoch 1"}, 3 * 5),
        ("cosine-layers-0", {"show": "cosines"}, 5 * 6 + 4 * 10),
        ("cosine-checkpoints", {"show": "cosines", "massive": "without", "reference": "epoch 3"}, 5 * 6 + 4 * 10),
        ("map-reference", {"show": "map"}, 2 * 36),
        ("map-reference", {"show": "map", "layer": "2", "reference": "epoch 1"}, 2 * 36),
        ("quartiles", {"show": "sample"}, None),
    ],
)
def test_the_numbers_of_a_picture_are_those_of_the_command_below_it(
    opens: Opens,
    world: World,
    csvs: dict[str, tuple[str, Any]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    key: str,
    address: dict[str, str],
    rows: int | None,
):
    test = opened(opens("layers", **address), key)
    taken = read(csvs[f"csv-{key}"][1]())
    assert rows is None or len(taken) == rows
    (command,) = [one.value for one in test.code]
    written = exported(world, command, tmp_path, monkeypatch)
    shared = list(written[0])
    assert list(taken[0]) == shared + (["label", "text"] if key == "pca" else [])
    lines = {tuple(row.values()) for row in written}
    assert [row for row in taken if tuple(row[column] for column in shared) not in lines] == []


def test_a_guide_is_two_sentences_and_the_rest_opens(opens: Opens):
    test = opens("overview")
    assert terms.html(accuracy.GUIDE.short) in [one.value for one in test.caption]
    assert terms.html(accuracy.GUIDE.more) in [one.value for one in test.markdown]


def test_downloads_are_made_when_the_menu_is_opened(opens: Opens, csvs: dict[str, tuple[str, Any]]):
    test = opens("layers")
    assert csvs == {}
    assert not test.code
    opened(test, "pca")
    assert csvs.keys() == {"csv-pca", "html-pca"}
    name, page = csvs["html-pca"]
    assert name == "film-pca-epoch-3-base.html"
    assert csvs["csv-pca"][0] == "film-pca-epoch-3-base.csv"
    assert page().count("mountScrubber({data") == 1


def test_file_names_say_what_is_compared(opens: Opens, csvs: dict[str, tuple[str, Any]]):
    opened(opens("layers", reference="epoch 1", epoch="epoch 2", massive="without"), "direction-heat")
    assert csvs["csv-direction-heat"][0] == "film-direction-heat-epoch-2-epoch-1-without-3-largest.csv"


def test_a_review_can_be_taken_along(opens: Opens, world: World, csvs: dict[str, tuple[str, Any]]):
    index = pin(world.studies["film"], world.lab).sample.index[5]  # type: ignore[arg-type]
    test = opens("layers", review=str(index))
    test.session_state["take-review-answers"] = True
    opened(test, "review-curve")
    answers, along = (read(csvs[f"csv-{key}"][1]()) for key in ("review-answers", "review-curve"))
    assert [(row["checkpoint"], row["index"]) for row in answers] == [("base", str(index)), ("epoch 3", str(index))]
    shown = test.table[0].value["logit difference (logits)"].tolist()
    assert [f"{float(row['logit_diff']):+.2f}" for row in answers] == shown
    assert len(along) == 4 * 5
    drawn = charts(test)["review-curve"]
    assert f'"{float(along[-1]["along"]):.2f}"'[1:4] in drawn
    assert not test.code, "nothing exports one review"


def test_the_command_quotes_labels_and_names_the_reference(opens: Opens):
    test = opened(opens("layers", reference="epoch 1", massive="without"), "pca")
    said = "python -m backend export film --out out --only projection --reference 'epoch 1' --drop-largest 3"
    assert [one.value for one in test.code] == [said]


def test_the_camera_makes_a_png_with_a_background():
    options = theme.plot_config("film-pca")["toImageButtonOptions"]
    assert options == {"format": "png", "scale": 2, "filename": "film-pca"}
    drawn = theme.figure([], "t", 100)
    assert drawn.layout.paper_bgcolor is None, "the theme's own, so that light letters stand on a dark ground"


@pytest.mark.parametrize("text", ["**bold**", "[a](b)", ":red[x]", "a_b_c", "<script>", "$x$", "`code`", "# head"])
def test_plain_words_hold_no_markdown(text: str):
    escaped = plain(text)
    assert escaped.replace("\\", "") == text
    for i, sign in enumerate(escaped):
        if sign in "*_[]:<>$`#":
            assert escaped[i - 1] == "\\"
