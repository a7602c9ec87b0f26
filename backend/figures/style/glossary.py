"""What the field's terms mean, each in one sentence, and the page of the documentation that says more."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class Term:
    """A term as the field writes it, its meaning, and a page of the documentation without its ending."""

    name: str
    meaning: str
    page: str
    forms: tuple[str, ...] = ()
    """Other ways to write it: plurals, synonyms."""


TERMS = (
    Term(
        "95 % interval",
        "The range that holds the true value in 95 of 100 samples like this one.",
        "intervals",
        ("95 % intervals", "interval", "intervals"),
    ),
    Term("ablation", "Removing something from a model or a text, to see what depends on it.", "analyses/ablation"),
    Term(
        "activation patching",
        "Replacing one residual of a model by that of another, to see whether it carries the difference.",
        "analyses/patching",
    ),
    Term(
        "attribution",
        "How much each part of the model adds to the logit difference directly.",
        "analyses/attribution",
    ),
    Term(
        "AUC",
        "How often a random text of the class scores higher than one of the others; 0.5 is chance.",
        "analyses/accuracy",
    ),
    Term("balanced accuracy", "The mean of the recalls; with two classes, 50 % is chance.", "analyses/accuracy"),
    Term("bias", "The mean logit difference over all texts: which class the model prefers.", "analyses/accuracy"),
    Term("block", "One transformer block: attention and MLP, with their norms.", "analyses/swaps", ("blocks",)),
    Term("Brier score", "The mean squared error of the predicted probability; 0 is best.", "analyses/calibration"),
    Term(
        "chance",
        "What the same measurement gives when the labels or the pairs are shuffled.",
        "intervals",
        ("chance level",),
    ),
    Term(
        "CKA",
        "A similarity of two sets of residuals that ignores rotation and scale; 1 is the same, 0 is unrelated.",
        "analyses/similarity",
    ),
    Term(
        "class direction",
        "The difference between the mean residuals of the classes, at one layer.",
        "analyses/direction",
        ("class directions",),
    ),
    Term("dead feature", "A feature that never fires.", "autoencoders", ("dead features",)),
    Term("donor", "The model that parts are taken from in a swap.", "analyses/swaps"),
    Term(
        "entropy",
        "How uncertain the next token is, in nats; 0 is certain.",
        "analyses/output_space",
    ),
    Term(
        "false-discovery rate",
        "The expected share of false alarms among all that is marked.",
        "analyses/features",
    ),
    Term(
        "feature",
        "A direction that an autoencoder found; it fires at few tokens.",
        "autoencoders",
        ("features",),
    ),
    Term(
        "final norm",
        "The normalization between the last block and the head.",
        "analyses/probes",
    ),
    Term(
        "fraction recovered",
        "How much of the difference in gap between two models a swap brings; 1 is all of it.",
        "analyses/swaps",
    ),
    Term(
        "gap",
        "The mean logit difference of texts of one class, less that of the others.",
        "analyses/accuracy",
    ),
    Term("head", "The matrix that turns the last residual into logits.", "analyses/probes", ("LM head",)),
    Term("host", "The model that runs in a swap, with parts of the donor.", "analyses/swaps"),
    Term(
        "KL",
        "How far one model's predictions are from another's, in nats; 0 is the same.",
        "analyses/output_space",
        ("KL divergence",),
    ),
    Term(
        "linear probe",
        "A logistic regression that predicts the class from the residuals of one layer.",
        "analyses/linear_probes",
        ("linear probes",),
    ),
    Term(
        "logit difference",
        "The logit of one label word, less that of the other.",
        "analyses/accuracy",
        ("logit differences",),
    ),
    Term("logit lens", "Reading the residual of a middle layer with the model's head.", "analyses/probes"),
    Term("perplexity", "How surprised the model is by a text; lower is better.", "analyses/output_space"),
    Term(
        "principal components",
        "The axes along which the texts differ most.",
        "analyses/projection",
        ("principal component",),
    ),
    Term(
        "Procrustes",
        "The share of the difference that remains after the best rotation and scale.",
        "analyses/similarity",
    ),
    Term(
        "readout position",
        "The token where the answer is read: the last of the prompt, or [CLS].",
        "analyses/direction",
    ),
    Term("recall", "The share of the texts of one class that are answered with that class.", "analyses/accuracy"),
    Term(
        "residual stream",
        "The vector at each token that every block reads and adds to.",
        "analyses/direction",
        ("residual", "residuals"),
    ),
    Term(
        "sampling noise",
        "The difference that another sample of texts would make.",
        "intervals",
    ),
    Term(
        "separation",
        "The distance between the class means, in units of the spread within a class.",
        "analyses/direction",
    ),
    Term(
        "stable rank",
        "In how many directions a matrix changed, weighted by their size.",
        "analyses/weights",
    ),
    Term(
        "steering vector",
        "A direction that is added to the residuals while the model runs.",
        "analyses/steering",
    ),
    Term("t-SNE", "A map that keeps neighbours together; distances far apart mean little.", "analyses/map"),
    Term("UMAP", "A map that keeps neighbours together; distances far apart mean little.", "analyses/map"),
    Term(
        "unembedding",
        "The matrix that turns a residual into the logits of all tokens.",
        "analyses/unembedding",
    ),
)
_BY_FORM = {form.lower(): term for term in TERMS for form in (term.name, *term.forms)}
_FORMS = re.compile(
    r"(?<![\w-])(" + "|".join(re.escape(form) for form in sorted(_BY_FORM, key=len, reverse=True)) + r")(?![\w-])",
    re.IGNORECASE,
)


def split(text: str) -> Iterator[tuple[str, Term | None]]:
    """Cut a text into pieces, in order; the first appearance of each term is a piece with its meaning."""
    seen: set[str] = set()
    start = 0
    for match in _FORMS.finditer(text):
        term = _BY_FORM[match[0].lower()]
        if term.name not in seen:
            seen.add(term.name)
            yield text[start : match.start()], None
            yield match[0], term
            start = match.end()
    yield text[start:], None
