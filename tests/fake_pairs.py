"""A fake study of pairs of texts in three classes: entailment, neutral, contradiction."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from backend.study.config import Study
from tests.fake_texts import fake_sample
from tests.fakes import fake_definition

PAIR = ("premise", "hypothesis")
LABELS = ("entailment", "neutral", "contradiction")


def fake_pairs(folder: Path, epochs: int = 3, reviews: int = 36) -> Study:
    """Write the pairs to the folder and return the study."""
    sample = fake_sample(max(40, reviews), 3)
    rows = {
        "premise": sample.text,
        "hypothesis": [text[:20] for text in sample.text],
        "label": [LABELS[c] for c in sample.label],
    }
    pd.DataFrame(rows).to_csv(folder / "reviews.csv", index=False)
    study = fake_definition(folder, epochs, classes=3, reviews=reviews)
    prompt = study.prompt.model_copy(update={"template": "{premise} Review: {hypothesis} Sentiment:", "fields": PAIR})
    dataset = study.dataset.model_copy(update={"text": PAIR, "labels": LABELS})
    return study.model_copy(update={"prompt": prompt, "dataset": dataset})
