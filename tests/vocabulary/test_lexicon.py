"""Word lists: VADER as read by its own package, and the lists of a study."""

from __future__ import annotations

from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

from backend.vocabulary import lexicon
from tests.fake_texts import fake_tokenizer


def test_vader_is_read_as_its_package_reads_it():
    theirs = SentimentIntensityAnalyzer().lexicon
    assert lexicon.vader() == {word: value for word, value in theirs.items() if word.isalpha()}
    assert lexicon.vader()["wonderful"] > 2
    assert lexicon.vader()["boring"] < -1


def test_groups_part_the_lexicon():
    positive, negative = (set(words) for _, words in lexicon.groups())
    assert not positive & negative
    assert positive | negative == {word for word, valence in lexicon.vader().items() if valence != 0}
    assert "wonderful" in positive
    assert "boring" in negative


def test_own_lists_come_last_and_take_the_place_of_their_name():
    own = lexicon.own_words({"food": ("bread", "cheese"), "negative": ("dull",)})
    assert [name for name, _ in lexicon.groups(own)] == ["positive", "negative", "food"]
    assert dict(lexicon.groups(own))["negative"] == ("dull",)
    assert dict(lexicon.groups(own))["food"] == ("bread", "cheese")


def test_groups_are_words_that_are_one_token() -> None:
    tokenizer = fake_tokenizer()
    groups = lexicon.token_groups(tokenizer, (("film", ("script", "camera", "nowhere")), ("empty", ())), 1300)
    assert list(groups) == ["positive", "negative", "film", "empty"]
    assert set(groups["film"]) == {tokenizer.token_to_id(" script"), tokenizer.token_to_id(" camera")}
    assert groups["empty"] == ()
    for name, sign in (("positive", 1), ("negative", -1)):
        assert groups[name]
        for token in groups[name]:
            assert sign * lexicon.vader()[tokenizer.decode([token]).strip()] > 0
    assert lexicon.token_groups(tokenizer, (), 3) == {"positive": (), "negative": ()}
    assert lexicon.own_words(None) == ()
