"""Read a PEFT adapter's files: the class, head and vocabulary it gives its base, or why it is refused. No torch."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from backend.errors import CheckpointError
from backend.models.architectures import Family, classifier_of, family_of
from backend.models.files.configs import read_config
from backend.models.files.facts import read_facts
from backend.models.files.heads import architecture_of, head_names
from backend.models.files.locate import ADAPTER_CONFIG, CONFIG, Located, read_json, tensors
from backend.models.files.tensor_names import model_tensors
from backend.study.facts import Facts

PREFIX = "base_model.model."
_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "default"}
MERGED = {  # methods whose merged weights compute what the adapter computes (tests/models/runtime/test_merge_adapter)
    *("ADALORA", "ADAMSS", "BEFT", "BOFT", "C3A", "DEFT", "DELORA", "FOURIERFT", "GLORA", "GRALORA", "HIRA"),
    *("HRA", "IA3", "LN_TUNING", "LOHA", "LOKR", "LORA", "MISS", "OFT", "OSF", "PEANUT", "PSOFT", "PVERA", "RANDLORA"),
    *("ROAD", "SHIRA", "SUPERTUNING", "TRAINABLE_TOKENS", "UNILORA", "VBLORA", "VERA", "WAVEFT"),
}
_PROMPTS = {"PROMPT_TUNING", "MULTITASK_PROMPT_TUNING", "P_TUNING", "PREFIX_TUNING", "CPT", "CARTRIDGE"}
_TASKS = {
    "TOKEN_CLS": "labels tokens",
    "QUESTION_ANS": "marks answers",
    "SEQ_2_SEQ_LM": "is a sequence-to-sequence one",
}
_MORE = {
    "alora_invocation_tokens": "acts from its invocation tokens on only",
    "layer_replication": "repeats blocks of its base",
    "arrow_config": "chooses among several adapters at every token",
    "use_qalora": "works on a quantized base only",
}
_NORMS = ("norm", "ln_f", "final_layer_norm", "final_layernorm", "final_norm", "norm_f", "layer_norm")
_SHOWN = 3


@dataclass(frozen=True)
class Adapter:
    """An adapter on its base. `names` maps the tensor names of the merged model to those in the file.

    `architecture` is the class that the base is opened as. `answers` counts the rows of the head in the adapter's file.
    `vocabulary` counts the rows of the embedding that the adapter was trained with, if the file contains them.
    """

    located: Located
    config: dict[str, Any]
    names: dict[str, str]
    shapes: dict[str, tuple[int, ...]]
    architecture: str
    answers: int | None
    vocabulary: int | None

    @property
    def whole(self) -> frozenset[str]:
        """Names of the weights that the adapter's file holds in full, so the base may lack them."""
        return frozenset(name.replace(".token_adapter", "").replace(".base_layer", "") for name in self.shapes)


def read_adapter(located: Located, base: Located) -> Adapter:
    """Read the adapter's config and the header of its file.

    Raises CheckpointError for an adapter that cannot be merged, that is damaged, or whose head does not fit its base.
    """
    config = read_json(located.folder / ADAPTER_CONFIG)
    _check_config(config, located)
    entries = tensors(located)
    empty = [entry.name for entry in entries if entry.size == 0 and config["peft_type"] != "ADALORA"]
    if empty:
        raise CheckpointError(
            f"{located.folder} holds empty weights ({some(empty)}), one shard of a DeepSpeed ZeRO-3 or FSDP training; "
            f"gather the weights before save_pretrained."
        )
    shapes = {entry.name: entry.shape for entry in entries}
    names = _cleaned(shapes)
    place = str(base.folder)
    own = architecture_of(read_config(base, place), model_tensors(base), place)
    architecture = _opened_as(own, config, names, located)
    family = family_of(architecture, str(located.folder))
    names = {_placed(name, architecture, family): stored for name, stored in names.items()}
    tensor_shapes = {name: shapes[stored] for name, stored in names.items()}
    head = tensor_shapes.get(f"{family.unembed}.weight") if architecture.endswith("ForSequenceClassification") else None
    if head is None and architecture != own:
        raise CheckpointError(
            f"{located.folder} classifies texts, but neither it nor its base has a head ({family.unembed}.weight); "
            f"train it with the head in modules_to_save, or name a base that has one."
        )
    rows, answers = _rows(tensor_shapes, family, architecture), head[0] if head else None
    return Adapter(located, config, names, tensor_shapes, architecture, answers, rows)


def adapter_facts(located: Located, base: Located, place: str) -> Facts:
    """Return the facts of the merged model: its base's, with the adapter's head and vocabulary."""
    facts, adapter = replace(read_facts(base, place), adapter=True), read_adapter(located, base)
    vocabulary = adapter.vocabulary or facts.vocabulary
    if vocabulary != facts.vocabulary:  # resizing gives every token its per-layer embeddings
        facts = replace(facts, readable=None)
    if adapter.answers is None:
        return replace(facts, vocabulary=vocabulary)
    family = family_of(adapter.architecture, place)
    names = _row_names(located) or (facts.head_names if facts.answers == adapter.answers else ())
    return replace(
        facts,
        architecture=adapter.architecture,
        vocabulary=vocabulary,
        kind=family.kind,
        has_head=True,
        answers=adapter.answers,
        head_names=names if len(names) == adapter.answers else (),
    )


def some(names: Iterable[str]) -> str:
    """List the first three names, and count the rest."""
    listed = sorted(names)
    rest = len(listed) - _SHOWN
    return ", ".join(listed[:_SHOWN]) + (f" and {rest} more" if rest > 0 else "")


def _check_config(config: dict[str, Any], located: Located) -> None:
    kind = config.get("peft_type")
    if not isinstance(kind, str) or not kind:
        raise CheckpointError(f"{located.folder / ADAPTER_CONFIG} has no peft_type; save the adapter with PEFT.")
    if kind in _PROMPTS:
        raise CheckpointError(
            f"{located.folder} is an adapter of type {kind}, which cannot be merged onto its base: it is a learned "
            f"prompt, which changes no weights; use LoRA or another adapter of weights."
        )
    if kind not in MERGED:
        raise CheckpointError(
            f"{located.folder} is an adapter of type {kind}, which cannot be merged onto its base; use LoRA or another "
            f"adapter of weights."
        )
    task = str(config.get("task_type"))
    if task in _TASKS:
        raise CheckpointError(
            f"{located.folder} was trained for the task {task}: it {_TASKS[task]}; name an adapter of a causal model "
            f"(CAUSAL_LM) or of a classifier of texts (SEQ_CLS)."
        )
    more = next((key for key in _MORE if config.get(key)), None)
    if more is not None:
        raise CheckpointError(
            f"{located.folder} cannot be merged onto its base: it {_MORE[more]} ({more} in {ADAPTER_CONFIG}); use an "
            f"adapter without {more}."
        )
    start = config.get("init_lora_weights")
    if isinstance(start, str) and (start.startswith("pissa_niter") or start in ("lora_ga", "corda")):
        raise CheckpointError(
            f'{located.folder} changed the base before training (init_lora_weights = "{start}"), by values that it '
            f"does not hold; save it again with path_initial_model_for_weight_conversion, which turns it into a LoRA."
        )


def _cleaned(shapes: Iterable[str]) -> dict[str, str]:
    """Map each name in the model, without the prefixes of PEFT and of training wrappers, to the name in the file."""
    stored_names: dict[str, str] = {}
    for stored in shapes:
        parts = [part for part in stored.split(".") if part not in _WRAPPERS]
        while parts[:1] == ["module"]:  # of distributed data parallel
            parts = parts[1:]
        parts = parts[2:] if parts[:2] == ["base_model", "model"] else parts
        while parts[:1] == ["module"]:
            parts = parts[1:]
        if "original_module" not in parts:  # the untrained copy of a module that is saved in full
            stored_names[".".join(parts)] = stored
    twins = {name: name.replace(".modules_to_save.", ".") for name in stored_names if ".modules_to_save." in name}
    for name, plain in twins.items():
        stored = stored_names.pop(name)
        stored_names.setdefault(plain, stored)
    return stored_names


def _opened_as(architecture: str, config: dict[str, Any], names: Iterable[str], located: Located) -> str:
    """Return the class that the base is opened as: with a classification head if the adapter was trained with one."""
    heads = {"classifier", "score"}
    if config.get("task_type") != "SEQ_CLS" and not any(heads & set(name.split(".")[:1]) for name in names):
        return architecture
    classifier = classifier_of(architecture)
    if classifier is None:
        raise CheckpointError(
            f"{located.folder} classifies texts, and transformers has no classifier for a {architecture}; name an "
            f"adapter of a causal model (CAUSAL_LM)."
        )
    return classifier


def _placed(name: str, architecture: str, family: Family) -> str:
    """Return the name in this class; the adapter may have been trained on the body alone, or with a head."""
    other = classifier_of(architecture)
    body = family.body or (family_of(other, name).body if other else "")
    first = name.partition(".")[0]
    paths = (family.embed, family.blocks, "pooler", *_NORMS)
    inside = {path.removeprefix(f"{body}.").partition(".")[0] for path in paths}
    if family.body and first in inside and first != body:
        return f"{body}.{name}"
    if not family.body and first == body and name.split(".")[1] in inside:
        return name.removeprefix(f"{body}.")
    return name


def _rows(shapes: dict[str, tuple[int, ...]], family: Family, architecture: str) -> int | None:
    """Return the vocabulary size that the adapter was trained with; None if the file does not contain it."""
    for path in (family.embed, family.unembed if family.predicts else None):
        for end in ("weight", "base_layer.weight", "token_adapter.base_layer.weight"):
            if path and f"{path}.{end}" in shapes:
                return shapes[f"{path}.{end}"][0]
    low = shapes.get(f"{family.embed}.lora_embedding_A")
    return low[-1] if low else None


def _row_names(located: Located) -> tuple[str, ...]:
    """Return the names of the head's rows in the config beside the adapter; empty if they are generic."""
    return head_names(read_json(located.folder / CONFIG), str(located.folder)) if located.present((CONFIG,)) else ()
