"""`new` on the command line: pairs of texts, contrasts, texts only and chats, each checked and exported."""

from __future__ import annotations

import json
from pathlib import Path

import pandas as pd
import pytest

from backend.__main__ import main
from backend.study.config import load_study


def fails(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """Run a command with a user error and return its message."""
    assert main(arguments) == 2
    message = capsys.readouterr().err.strip()
    assert message and "\n" not in message
    return message


def pairs(root: Path) -> list[str]:
    """Arguments of `new` for texts in two columns."""
    tiny = root / "studies" / "tiny"
    reviews = pd.read_csv(tiny / "reviews.csv")
    reviews.assign(premise=reviews.text, hypothesis=[text[:9] for text in reviews.text]).drop(columns="text").to_csv(
        root / "pairs.csv", index=False
    )
    base, checkpoints = str(tiny / "base"), str(tiny / "checkpoints" / "epoch-*")
    return ["--base", base, "--checkpoints", checkpoints, "--data", str(root / "pairs.csv"), "--max-tokens", "63"]


@pytest.mark.parametrize("text", [["--text", "premise,hypothesis"], ["--text", "premise", "--text", "hypothesis"]])
def test_new_writes_a_study_of_pairs(root: Path, capsys: pytest.CaptureFixture[str], text: list[str]) -> None:
    assert main(["new", "mine", *pairs(root), *text, "--sample", "20"]) == 0, capsys.readouterr().err
    written = (root / "studies" / "mine" / "study.toml").read_text()
    assert 'text = ["premise", "hypothesis"]' in written
    assert load_study(root / "studies" / "mine").prompt.template == "{premise}\n{hypothesis}\nAnswer:"
    reviews = pd.read_csv(root / "pairs.csv")
    shown = [line for line in capsys.readouterr().out.splitlines() if line.startswith("  prompt")]
    beginning = reviews.hypothesis[0][:5]
    assert len(shown) == 3 and any(beginning in line for line in shown)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (["--text", "premise,body"], 'has no column "body" (dataset.text)'),
        (["--text", "premise,premise"], "lists a column twice"),
        (["--text", "premise,hypothesis", "--template", "{text}"], "use {premise} and {hypothesis} instead"),
        (["--text", "premise,hypothesis", "--template", "{premise}"], "has no {hypothesis}"),
    ],
)
def test_new_refuses_pairs_in_one_sentence(
    root: Path, capsys: pytest.CaptureFixture[str], change: list[str], message: str
) -> None:
    assert message in fails(capsys, "new", "mine", *pairs(root), *change)
    assert not (root / "studies" / "mine").exists()


@pytest.mark.parametrize(
    ("more", "written", "checked"),
    [
        (["--kind", "contrast"], 'label = "label"', "kind         "),
        (["--kind", "texts"], 'text = "text"', "kind         "),
        (["--kind", "ordered", "--label", "stars"], "ordered = true", "values       1 to 5 in order, 5 different"),
        (["--chat", "--system", "The score"], 'content = "The score"', "The score"),
        (["--chat", "--kind", "contrast"], 'role = "user"', "kind         "),
    ],
)
def test_new_of_every_kind_and_form_passes_check(
    root: Path, capsys: pytest.CaptureFixture[str], more: list[str], written: str, checked: str
) -> None:
    tiny = root / "studies" / "tiny"
    for place in (tiny / "base", *(tiny / "checkpoints").iterdir()):
        (place / "chat_template.jinja").write_text(
            "{% for m in messages %}{{ m.content }} {% endfor %}{% if add_generation_prompt %}Answer:{% endif %}"
        )
    reviews = pd.read_csv(tiny / "reviews.csv")
    reviews.assign(stars=[i % 5 + 1 for i in range(len(reviews))]).to_csv(tiny / "reviews.csv", index=False)
    arguments = ["--base", str(tiny / "base"), "--checkpoints", str(tiny / "checkpoints" / "epoch-*")]
    data = ["--data", str(tiny / "reviews.csv"), "--max-tokens", "60", "--sample", "20"]
    assert main(["new", "mine", *arguments, *data, *more]) == 0, capsys.readouterr().err
    text = (root / "studies" / "mine" / "study.toml").read_text()
    assert written in text
    assert ("label_words" in text) == ("--kind" not in more)
    assert ("label =" in text.partition("[dataset]")[2]) == ("texts" not in more)
    assert ("labels =" in text) == ("texts" not in more and "ordered" not in more)
    assert ("[[prompt.messages]]" in text) == ("--chat" in more)
    assert ("Review: {text} Sentiment:" in text) == ("--kind" not in more), "without answers the text alone"
    out = capsys.readouterr().out
    assert checked in out and "epoch-2" in out
    assert main(["check", "mine"]) == 0
    assert capsys.readouterr().out.splitlines()[0] == "mine: mine"
    table = "ordered" if "ordered" in more else "similarity"
    assert main(["export", "mine", "--out", str(root / "out"), "--only", table]) == 0
    assert (root / "out" / f"{table}.csv").is_file()
    line = json.loads((root / "out" / "sample.jsonl").read_text().splitlines()[0])
    assert line.get("value") == (line["index"] % 5 + 1 if "ordered" in more else None)


@pytest.mark.parametrize(
    ("more", "message"),
    [
        (
            ["--kind", "contrast", "--label-words", "a,b"],
            "--label-words is not used with --kind contrast; leave it out",
        ),
        (["--kind", "texts", "--separator", "x"], "or choose --kind answers."),
        (["--kind", "texts", "--label", "stars"], "or choose --kind answers or contrast or ordered."),
        (["--kind", "ordered", "--labels", "1,2"], "--labels is not used with --kind ordered; leave it out"),
        (["--system", "Judge films."], "--system is the system message of a chat; add --chat, or leave it out."),
        (["--label", "mark"], "Name the column of the labels, or choose texts only (--kind texts)."),
    ],
)
def test_new_refuses_what_the_kind_does_not_use(
    root: Path, capsys: pytest.CaptureFixture[str], more: list[str], message: str
) -> None:
    tiny = root / "studies" / "tiny"
    arguments = ["--base", str(tiny / "base"), "--checkpoints", str(tiny / "checkpoints" / "epoch-*")]
    said = fails(capsys, "new", "mine", *arguments, "--data", str(tiny / "reviews.csv"), "--max-tokens", "60", *more)
    assert message in said
    assert not (root / "studies" / "mine").exists()
