"""Check on opening that a model's parts add up, in one short forward pass; what fails is refused in one sentence.

Every block must map the residual stream to the residual stream; attention and MLP must add up to the block; final norm
and unembedding must give the model's own logits.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from typing import Any

import torch
from jaxtyping import Int64
from torch import Tensor, nn

from backend.errors import CheckpointError
from backend.models.runtime.blocks import first_half, second_half
from backend.models.runtime.calls import STREAM, Call, Residuals, first, record, run_body, tensors_of
from backend.models.runtime.forward import run
from backend.models.runtime.hooks import taps
from backend.models.runtime.load import LoadedModel
from backend.models.runtime.rounding import equal

KINDS = ("sequential", "parallel", "shared")
"""Attention, then the MLP; both on the same residual; both on the same normed residual."""
TOKENS = 8
FAILURES = (RuntimeError, TypeError, ValueError, KeyError, IndexError, AttributeError, NotImplementedError)


@dataclass(frozen=True)
class Checked:
    """What the self-check confirmed.

    A block returns `returns` values (None: the residuals alone). Arguments named in `batched` hold one entry per text.
    `halves` says how attention and MLP add up (KINDS), empty where they do not. `blocks` and `lens` say in a sentence
    why blocks cannot run one by one, and why residuals cannot be read as logits; empty where they can.
    """

    returns: int | None = None
    batched: frozenset[str] = frozenset()
    halves: str = ""
    blocks: str = ""
    lens: str = ""


@dataclass
class _Own:
    """The model's own pass: residuals entering and leaving every block, the body's output and the logits."""

    ids: Int64[Tensor, "batch tokens"]
    inputs: dict[str, Tensor]
    entering: list[Residuals] = field(default_factory=list)
    leaving: list[Residuals] = field(default_factory=list)
    returns: int | None = None
    hidden: Tensor | None = None
    logits: Tensor | None = None


@torch.inference_mode()
def check(loaded: LoadedModel) -> Checked:
    """Compare the parts of a model with its own forward pass.

    Raises CheckpointError for a model without a residual stream that runs from block to block.
    """
    own = _own_pass(loaded)
    _check_stream(loaded, own)
    _check_readout(loaded, own)
    if not _continuous(loaded, own):
        return Checked(own.returns, blocks=_alone(loaded), lens=_lens(loaded, own))
    try:
        batched, base = _batched(loaded, own)
        halves = _halves(loaded, own, batched, base)
        runs = bool(halves) or _wholes(loaded, own, batched, base)
    except FAILURES:
        return Checked(own.returns, blocks=_alone(loaded), lens=_lens(loaded, own))
    return Checked(own.returns, batched, halves, "" if runs else _alone(loaded), _lens(loaded, own))


def _alone(loaded: LoadedModel) -> str:
    return (
        f"The blocks of {_named(loaded)} cannot run one by one, so swaps, patching and fast steering are refused; its "
        f"residuals, directions and probes can be read."
    )


def _named(loaded: LoadedModel) -> str:
    return f"{loaded.model.config.name_or_path} (a {type(loaded.model).__name__})"


def some_ids(loaded: LoadedModel) -> Int64[Tensor, "2 tokens"]:
    """Return two texts that share their first half, without special tokens."""
    vocabulary = loaded.rows("token") or next(loaded.components.embed.parameters()).shape[0]
    config: Any = loaded.model.config
    given = [getattr(config, name, None) for name in ("pad_token_id", "bos_token_id", "eos_token_id")]
    special = {token for one in given for token in (one if isinstance(one, list) else [one])}
    usable = [i for i in (j * 37 % vocabulary for j in range(3, 3 + 4 * TOKENS)) if i not in special] or [0]
    row = [usable[i % len(usable)] for i in range(TOKENS)]
    other = row[: TOKENS // 2] + [usable[-1 - i % len(usable)] for i in range(TOKENS // 2)]
    return torch.tensor([row, other], device=loaded.device)


def _own_pass(loaded: LoadedModel) -> _Own:
    ids = some_ids(loaded)
    inputs: dict[str, Tensor] = {}
    if loaded.components.family.kind == "encoder":
        inputs = {"attention_mask": torch.ones_like(ids)}
        inputs["attention_mask"][1, -2:] = 0
    own = _Own(ids, inputs)
    with _recording(loaded, own):
        family = loaded.components.family
        arguments = inputs if family.kind == "encoder" else {"use_cache": False}
        if family.kind == "causal" and not family.predicts:  # a classifier would search for padding
            run_body(loaded, ids, inputs)
        else:
            own.logits = getattr(loaded.model(input_ids=ids, **arguments), "logits", None)
    if own.hidden is None:  # OPT's head calls its decoder, not its body
        own.hidden = run_body(loaded, ids, inputs).last_hidden_state
    return own


@contextmanager
def _recording(loaded: LoadedModel, own: _Own) -> Iterator[None]:
    def entering(_module: nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        own.entering.append(args[0] if args else kwargs[STREAM])

    def leaving(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        own.leaving.append(first(output))
        own.returns = len(output) if isinstance(output, tuple | list) else None

    def body(_module: nn.Module, _args: tuple[Any, ...], output: Any) -> None:
        own.hidden = output.last_hidden_state

    with ExitStack() as hooks:
        for block in loaded.components.blocks:
            hooks.callback(block.whole.register_forward_pre_hook(entering, with_kwargs=True).remove)
            hooks.callback(block.whole.register_forward_hook(leaving).remove)
        hooks.callback(loaded.components.body.register_forward_hook(body).remove)
        yield


def _check_stream(loaded: LoadedModel, own: _Own) -> None:
    """Raise CheckpointError unless each block runs once on the residual stream, and later tokens change no earlier."""
    shape = (*own.ids.shape, loaded.model.config.hidden_size)
    blocks = len(loaded.components.blocks)
    together = [*own.entering, *own.leaving]
    if (len(own.entering), len(own.leaving)) != (blocks, blocks) or any(one.shape != shape for one in together):
        raise CheckpointError(
            f"{_named(loaded)} has no residual stream that runs through its blocks once; use a checkpoint of another "
            f"architecture."
        )
    if getattr(loaded.model.config, "index_topk", None):
        raise CheckpointError(
            f"{_named(loaded)} attends to a few tokens that depend on the longest prompt of the batch, so a prompt's "
            f"numbers would depend on others; use a checkpoint of another architecture."
        )
    causal = loaded.components.family.kind == "causal" and getattr(loaded.model.config, "is_causal", True)
    if causal and not all(
        equal(loaded, x[0, : TOKENS // 2], x[1, : TOKENS // 2], x[0, : TOKENS // 2]) for x in together
    ):
        raise CheckpointError(
            f"{_named(loaded)} lets later tokens change earlier ones; use a model that reads from left to right, or an "
            f"encoder."
        )


def _continuous(loaded: LoadedModel, own: _Own) -> bool:
    """Return whether each block reads what the one before wrote; DeBERTa may add a convolution after the first."""
    passed = zip(own.leaving[:-1], own.entering[1:], strict=True)
    return all(equal(loaded, before.to(after.device), after, after) for before, after in passed)


def _check_readout(loaded: LoadedModel, own: _Own) -> None:
    """Raise CheckpointError unless logits read at one position alone are those of the whole text."""
    if not loaded.components.family.predicts or own.logits is None:
        return
    positions = torch.tensor([own.ids.shape[1] - 1, own.ids.shape[1] // 2], device=own.ids.device)
    with taps(loaded.components, positions):
        readout = run(loaded, own.ids, own.inputs)
    expected = own.logits[torch.arange(2, device=own.logits.device), positions]
    if readout is None or readout.shape != expected.shape or not equal(loaded, readout, expected, expected):
        raise CheckpointError(
            f"{_named(loaded)} gives other logits when one position is read alone; use a checkpoint of another "
            f"architecture."
        )


def _batched(loaded: LoadedModel, own: _Own) -> tuple[frozenset[str], tuple[Tensor, dict[str, Tensor], Tensor]]:
    """Return the arguments that hold one entry per text, and ids and inputs to record with, and the rows to compare."""
    causal = loaded.components.family.kind == "causal"
    ids = own.ids[:1] if causal else own.ids
    twice = ids.repeat(2, 1)
    inputs = {name: value.repeat(2, 1) for name, value in own.inputs.items()}
    names: set[str] = set()
    for attention in {False, _has_halves(loaded)}:
        single = record(loaded, ids, own.inputs, attention, own.returns)[1]
        double = record(loaded, twice, inputs, attention, own.returns)[1]
        for one, other in zip(single, double, strict=True):
            larger = tensors_of(other)
            names |= {
                name
                for name, value in tensors_of(one).items()
                if value.ndim and name in larger and len(larger[name]) == 2 * len(value)
            }
    rows = torch.arange(2) if causal else torch.arange(2).repeat(2)
    return frozenset(names), (ids, own.inputs, rows)


def _has_halves(loaded: LoadedModel) -> bool:
    return all(block.attn is not None and block.mlp is not None for block in loaded.components.blocks)


def _wholes(
    loaded: LoadedModel, own: _Own, batched: frozenset[str], base: tuple[Tensor, dict[str, Tensor], Tensor]
) -> bool:
    """Return whether blocks that run one by one give what they give in the model."""
    ids, inputs, rows = base
    calls = record(loaded, ids, inputs, False, own.returns)[1]
    found = (
        first(call.run(block.whole, x[rows], batched))
        for block, call, x in zip(loaded.components.blocks, calls, own.entering, strict=True)
    )
    return _all_equal(loaded, found, own, rows)


def _halves(
    loaded: LoadedModel, own: _Own, batched: frozenset[str], base: tuple[Tensor, dict[str, Tensor], Tensor]
) -> str:
    """Return how attention and MLP add up to every block; empty if they do not."""
    if not _has_halves(loaded):
        return ""
    ids, inputs, rows = base
    calls = record(loaded, ids, inputs, True, own.returns)[1]
    if len(calls) != len(loaded.components.blocks):
        return ""
    expected = KINDS[1:] if loaded.components.parallel else KINDS[:1]
    for kind in (*expected, *(kind for kind in KINDS if kind not in expected)):
        try:
            if _all_equal(loaded, _by_halves(loaded, own, calls, batched, rows, kind), own, rows):
                return kind
        except FAILURES:
            continue
    return ""


def _by_halves(
    loaded: LoadedModel, own: _Own, calls: Sequence[Call], batched: frozenset[str], rows: Tensor, kind: str
) -> Iterator[Residuals]:
    for block, call, x in zip(loaded.components.blocks, calls, own.entering, strict=True):
        yield second_half(loaded, block, kind, first_half(loaded, block, kind, batched, x[rows], call))


def _all_equal(loaded: LoadedModel, found: Iterator[Residuals], own: _Own, rows: Tensor) -> bool:
    real = own.inputs.get("attention_mask", torch.ones_like(own.ids)).bool()
    expected = zip(own.entering, own.leaving, strict=True)
    return all(
        equal(
            loaded,
            ours.to(after.device)[real[rows]],
            after[rows][real[rows]],
            (after - before.to(after.device))[rows][real[rows]],
        )
        for ours, (before, after) in zip(found, expected, strict=True)
    )


def _lens(loaded: LoadedModel, own: _Own) -> str:
    """Return why residuals cannot be read as logits; empty if final norm and head give the model's own."""
    components = loaded.components
    if not components.family.has_head:
        return ""
    try:
        if _reads(loaded, own):
            return ""
    except FAILURES:
        pass
    kind = "final norm and unembedding" if components.family.predicts else "head"
    return (
        f"The {kind} of {_named(loaded)} do not give its own logits from its last residual, so residuals cannot be "
        f"read as logits (logit lens, swaps, steering); its residuals, directions and probes can be read."
    )


def _reads(loaded: LoadedModel, own: _Own) -> bool:
    components, last, theirs = loaded.components, own.leaving[-1], own.logits
    if components.family.kind == "encoder":
        return theirs is not None and equal(loaded, components.logits(last[:, 0]), theirs, theirs)
    normed = components.ln_final(last)
    if own.hidden is None or not equal(loaded, normed, own.hidden.to(normed.device), normed):
        return False
    if not components.family.predicts:
        return True
    return theirs is not None and equal(loaded, components.logits(normed.to(loaded.model.dtype)), theirs, theirs)
