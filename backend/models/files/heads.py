"""Find the class that reads a checkpoint, the head in its files, and the names of that head's rows. No torch."""

from __future__ import annotations

from typing import Any

from backend.errors import CheckpointError
from backend.models.architectures import default_architecture, family_of, kind_of, types_of
from backend.models.files.configs import named_class
from backend.models.files.locate import CONFIG
from backend.models.files.safetensors_headers import Entry

CLASSIFIER = "ForSequenceClassification"
_HEADS = {  # by kind: prefix of the stored head's names -> suffix of the class that reads it; the first match counts
    "encoder": {
        "classifier.": CLASSIFIER,
        "qa_outputs.": "ForQuestionAnswering",
        "cls.predictions.": "ForMaskedLM",
        "lm_head.": "ForMaskedLM",
        "vocab_transform.": "ForMaskedLM",
    },
    "causal": {"score.": CLASSIFIER, "classifier.": "ForTokenClassification", "qa_outputs.": "ForQuestionAnswering"},
}
_DEFAULT_CLASSES = 2  # transformers' default for a config without a number of classes


def architecture_of(config: dict[str, Any], entries: tuple[Entry, ...], place: str) -> str:
    """Return the class that the config names, or else the class that reads the stored head.

    Raises CheckpointError for an unsupported class, one that ignores a stored classification head, or one of another
    model_type than the config's.
    """
    named, model_type = named_class(config), config.get("model_type")
    if named is None and model_type is None:
        raise CheckpointError(
            f"{place}: {CONFIG} names neither architectures nor model_type; save the model with save_pretrained."
        )
    if named is None:
        return default_architecture(str(model_type), _stored_head(str(model_type), entries))
    expected = types_of(named)
    if not expected and kind_of(str(model_type)):
        like = default_architecture(str(model_type), _stored_head(str(model_type), entries))
        raise CheckpointError(
            f"{place}: {CONFIG} names a {named}, which is not a supported architecture; if it computes what a {like} "
            f'of transformers computes, set architectures to ["{like}"] there.'
        )
    family = family_of(named, place)
    if model_type is not None and model_type not in expected:
        raise CheckpointError(
            f'{place}: {CONFIG} names a {named} and model_type = "{model_type}", which contradict each other; correct '
            f"one of them."
        )
    body = family.kind == "causal" and not family.has_head
    heads = ("classifier.", "score.", "lm_head.") if body else ("classifier.", "score.")
    unread = next((entry.name for entry in entries if entry.name.startswith(heads)), None)
    if unread is not None and not named.endswith(CLASSIFIER):
        raise CheckpointError(
            f"{place}: {CONFIG} names a {named}, which leaves the stored head ({unread}) unread; set architectures to "
            f'["{default_architecture(expected[0], _stored_head(expected[0], entries))}"] there, or save the model '
            f"without that head."
        )
    return named


def _stored_head(model_type: str, entries: tuple[Entry, ...]) -> str | None:
    heads = _HEADS.get(str(kind_of(model_type)), {})
    return next((end for start, end in heads.items() if any(entry.name.startswith(start) for entry in entries)), None)


def head_rows(architecture: str, entries: tuple[Entry, ...]) -> int | None:
    """Return the number of rows of the stored classification head, or None."""
    last = family_of(architecture, architecture).unembed if architecture.endswith(CLASSIFIER) else None
    return next((entry.shape[0] for entry in entries if entry.name == f"{last}.weight" and entry.shape), None)


def answers_of(config: dict[str, Any], rows: int | None, place: str) -> int:
    """Return the number of classes of a classifier, from its head and its config.

    Raises CheckpointError if the two disagree, or if the head predicts a number instead of classes.
    """
    counts = {"id2label": len(config.get("id2label") or ()), "num_labels": config.get("num_labels")}
    stated = {key: count for key, count in counts.items() if count}
    for key, count in stated.items():
        if count != (rows or next(iter(stated.values()))):
            raise CheckpointError(
                f"{place} has a head of {rows or stated['id2label']} classes and {key} in {CONFIG} has {count}; "
                f"correct it there, or save the model again."
            )
    answers = rows or next(iter(stated.values()), _DEFAULT_CLASSES)
    if answers == 1 or config.get("problem_type") == "regression":
        raise CheckpointError(
            f"{place} predicts a number (its head has {answers} {'row' if answers == 1 else 'rows'}, problem_type is "
            f"{config.get('problem_type')}), and Layershift compares classes; name a model with one row per class."
        )
    return answers


def head_names(config: dict[str, Any], place: str) -> tuple[str, ...]:
    """Return the names of the head's rows in order, from `id2label`; empty for transformers' default LABEL_0, LABEL_1.

    A training that was given `label2id` alone leaves that default in `id2label`, so then `label2id` names the rows.
    Raises CheckpointError if a row has no name or two, or if `label2id` contradicts it.
    """
    named = config.get("id2label") or {}
    try:
        rows = {int(row): str(name) for row, name in named.items()}
    except (AttributeError, TypeError, ValueError):
        raise _unnamed(place, "has a key that is not the number of a row") from None
    if len(rows) < len(named) or sorted(rows) != list(range(len(rows))):
        raise _unnamed(place, f"has the rows {', '.join(map(str, named))}")
    names = tuple(rows[row] for row in sorted(rows))
    if names == tuple(f"LABEL_{row}" for row in range(len(names))):
        return _from_label2id(config, len(names))
    if len(set(names)) < len(names):
        raise _unnamed(place, f"gives two rows one name ({', '.join(names)})")
    back = config.get("label2id")
    back = back if isinstance(back, dict) else {}
    other = next((name for row, name in enumerate(names) if str(back.get(name, row)) != str(row)), None)
    if other is not None:
        raise _unnamed(place, f'has "{other}" in row {names.index(other)}, and label2id in row {back[other]}')
    return names


def _from_label2id(config: dict[str, Any], rows: int) -> tuple[str, ...]:
    """Return the names of the rows in `label2id`; empty without one for every row, or for the default."""
    back = config.get("label2id")
    by_row = {str(row): str(name) for name, row in back.items()} if isinstance(back, dict) else {}
    count = rows or len(by_row)
    names = tuple(by_row.get(str(row), "") for row in range(count))
    known = isinstance(back, dict) and len(back) == count and all(names)
    return names if known and names != tuple(f"LABEL_{row}" for row in range(count)) else ()


def _unnamed(place: str, fault: str) -> CheckpointError:
    return CheckpointError(f"{place}: id2label in {CONFIG} {fault}; name the rows from 0 in the order of the head.")
