"""Reviews of the fakes, with their labels, and a tokenizer that knows their words."""

from __future__ import annotations

import numpy as np
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers

from backend.study.dataset import Sample, make_sample

WORDS = ("negative", "positive", "mixed", "unclear", "spam")
TEMPLATE = "Review: {text} Sentiment:"
MAX_TOKENS = 96

SUBJECTS = (
    "The lead performance",
    "This adaptation of the novel",
    "The camera work in the harbour scenes",
    "Her second feature",
    "The script",
    "What the trailer sold as a thriller",
    "The score, all strings and silence,",
    "The last half hour",
    "A cast this size",
    "The dialogue between the two brothers",
)
VERDICTS = (
    (
        "drags from the first minute and never finds a reason to exist.",
        "is so tired that even the extras look at their watches.",
        "wastes every good idea it borrows.",
        "falls apart the moment anybody has to speak.",
        "left the row behind me snoring, and I envied them.",
        "is loud where it should be clever and long where it should be over.",
    ),
    (
        "stayed with me for days.",
        "is funny, humane and exactly as long as it needs to be.",
        "earns each of its quiet surprises.",
        "made me call my father afterwards.",
        "is the best thing I have seen in this cinema all year.",
        "finds grace in people whom other films laugh at.",
    ),
    (
        "works for an hour and then forgets what it was about.",
        "is half a great film and half an apology for it.",
        "will please some and leave the others cold.",
        "has moments of wonder between stretches of filler.",
        "is well made and hard to love.",
        "starts badly, recovers, and ends somewhere in between.",
    ),
)
ASIDES = (
    "I went in knowing nothing.",
    "We saw it on a rainy Tuesday with eleven other people.",
    "Do not read the synopsis first.",
    "My sister disagrees, loudly.",
    "The subtitles are out of step in places.",
    "It was shot in nineteen days, which is worth knowing.",
    "The director has done this before, in smaller rooms.",
    "Nobody in it behaves the way people behave, and that may be the point.",
)
RATINGS = (("2/10.", "One star out of five."), ("9/10.", "Five stars."), ("5/10.", "Three out of five stars."))


def fake_texts(labels: np.ndarray, seed: int = 0) -> list[str]:
    """Return reviews of one to a dozen sentences; every tenth states a rating, every fifteenth is long."""
    generator = np.random.default_rng(seed)

    def pick(choices: tuple[str, ...]) -> str:
        return choices[int(generator.integers(len(choices)))]

    texts = []
    for i, label in enumerate(labels):
        kind = int(label) % len(VERDICTS)
        sentences = [f"{pick(SUBJECTS)} {pick(VERDICTS[kind])}"]
        extra = 12 if i % 15 == 7 else int(generator.integers(0, 4))
        sentences += [pick(ASIDES) if k % 2 else f"{pick(SUBJECTS)} {pick(VERDICTS[kind])}" for k in range(extra)]
        generator.shuffle(sentences)
        if i % 10 == 3:
            sentences.append(pick(RATINGS[kind]))
        texts.append(f"{' '.join(sentences)} (Screening {i + 1}.)")
    return texts


def fake_sample(reviews: int = 60, classes: int = 2, seed: int = 0) -> Sample:
    """Return a balanced sample whose source rows have gaps, as in a real sample."""
    label = np.random.default_rng(seed).permutation(np.arange(reviews) % classes).astype(np.int64)
    return make_sample(np.arange(reviews, dtype=np.int64) * 3 + 1, label, fake_texts(label, seed))


def fake_tokenizer() -> Tokenizer:
    """Return a tokenizer of words with their leading space; unknown words are <unk>."""
    split = pre_tokenizers.Split(Regex(r"\s?\w+|\s?[^\w\s]|\s"), "isolated")
    parts = [
        *SUBJECTS,
        *ASIDES,
        *(v for kind in VERDICTS for v in kind),
        *(r for kind in RATINGS for r in kind),
        TEMPLATE,
    ]
    text = " ".join([*parts, *WORDS, "(Screening.)", *map(str, range(1, 1001))])
    pieces = {piece for piece, _ in split.pre_tokenize_str(text)}
    pieces |= {piece for part in parts for piece, _ in split.pre_tokenize_str(part)}
    vocabulary = {token: i for i, token in enumerate(["<unk>", *sorted(pieces)])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    tokenizer.pre_tokenizer = split
    tokenizer.decoder = decoders.Fuse()
    return tokenizer
