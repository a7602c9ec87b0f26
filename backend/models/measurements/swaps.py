"""Run a host with parts of a donor, for all swaps of a plan together; neither model is changed.

A swap runs on the host up to its first block, on the donor's parts up to its last block, then on the host again. Shared
work runs once: the host's own run up to the first blocks (the trunk), and the donor's run from each first block (a
stem), from which a swap branches off at its last block. At each block all branches run together, in chunks.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float32
from torch import Tensor

from backend.caching.progress import Progress, unwatched
from backend.errors import CheckpointError
from backend.lab.outputs import Swap, Swapped
from backend.models.measurements.host_and_donor import BlockMeter, check_halves, check_pair
from backend.models.measurements.logit_lens import label_logits
from backend.models.runtime.batching import BATCH_TOKENS, make_batches, run_batches, tokens_at_once
from backend.models.runtime.blocks import attend, embed, proceed, surroundings
from backend.models.runtime.devices import free_bytes
from backend.models.runtime.forward import pad
from backend.models.runtime.hooks import at_positions
from backend.models.runtime.load import LoadedModel
from backend.study.token_ids import Columns, Prompts
from backend.study.whole_words import Words, expand

AT_ONCE = BATCH_TOKENS | {"cpu": 1024}
"""Tokens that pass a block together."""
BRANCHES = 4
"""Branches of one batch that pass a block together. Batches are smaller by this factor, so they need less padding."""
HELD_SHARE = 0.25
"""Maximal share of the free memory for the residuals of branches; further branches run in a later wave."""
Stem = tuple[str, int]
"""A run on the donor's parts: which part, from which block."""


@dataclass(frozen=True)
class Limits:
    """Limits of memory: `tokens` that pass a block together, `rows` (prompts) of a batch, `held_bytes` of residuals.

    None is what fits into the free memory of the device.
    """

    tokens: int | None = None
    rows: int | None = None
    held_bytes: int | None = None


@dataclass(frozen=True)
class Stage:
    """The runs that pass one block in a wave: `stems` on the donor's parts, `live` swaps back on the host.

    Stems in `begins` start from the trunk at this block, swaps in `leaving` leave their stem after it, and the trunk
    itself passes the block if `trunk`.
    """

    block: int
    begins: tuple[Stem, ...]
    stems: tuple[Stem, ...]
    trunk: bool
    live: tuple[Swap, ...]
    leaving: tuple[Swap, ...]

    @property
    def runs(self) -> int:
        """The number of runs that pass this block."""
        return len(self.stems) + self.trunk + len(self.live)


def stages(wave: Sequence[Swap], start: int, layers: int) -> list[Stage]:
    """Return the stages of one wave, from block `start`, which the trunk has reached, to the last."""
    result = []
    for block in range(start, layers):
        stems = sorted({(swap.part, swap.first) for swap in wave if swap.first <= block <= swap.last})
        result.append(
            Stage(
                block,
                begins=tuple(stem for stem in stems if stem[1] == block),
                stems=tuple(stems),
                trunk=any(swap.first > block for swap in wave),
                live=tuple(swap for swap in wave if swap.last < block),
                leaving=tuple(swap for swap in wave if swap.last == block),
            )
        )
    return result


def waves(plan: Sequence[Swap], held: int) -> Iterator[tuple[int, list[Swap]]]:
    """Yield the plan in waves of at most `held` swaps, each with the block that the trunk has reached before.

    Swaps are sorted by first block, so the trunk only moves forward; each wave moves it to its last first block.
    """
    ordered = sorted(set(plan), key=lambda swap: (swap.first, swap.part, swap.last))
    start = 0
    for i in range(0, len(ordered), held):
        wave = ordered[i : i + held]
        yield start, wave
        start = wave[-1].first


def block_runs(plan: Sequence[Swap], layers: int, held: int) -> int:
    """Return how many times a prompt passes a block in total."""
    return sum(stage.runs for start, wave in waves(plan, held) for stage in stages(wave, start, layers))


def run_swaps(
    host: LoadedModel,
    donor: LoadedModel,
    plan: Sequence[Swap],
    prompts: Prompts,
    progress: Progress,
    watch: Callable[[Swapped], None] = unwatched,
    limits: Limits = Limits(),
) -> Float32[np.ndarray, "swaps reviews classes"]:
    """Return label logits of the host with each swap of the plan, read by the host's own final norm and head.

    `progress` is called before every block, and `watch` with every finished batch. Raises CheckpointError for models
    of different sizes, a block out of range, or values that are not finite, DeviceError when one prompt alone does not
    fit.
    """
    _check(host, donor, plan)
    words = expand(prompts)
    prompts, watch = words.prompts, _by_prompt(words, watch)
    at_once = limits.tokens or tokens_at_once(host, AT_ONCE)
    lengths = [len(ids) for ids in prompts.token_ids]
    batches = make_batches(lengths, at_once // BRANCHES, limits.rows) if plan else []
    size = max(at_once // BRANCHES, *lengths) * host.model.config.hidden_size * host.model.dtype.itemsize
    held_bytes = limits.held_bytes or int(free_bytes(host.device) * HELD_SHARE)
    held = max(1, held_bytes // size)
    meter = BlockMeter(block_runs(plan, len(host.components.blocks), held) * len(lengths), "Swapping", progress)
    logits, done = np.empty((len(plan), len(lengths), len(prompts.label_tokens)), np.float32), 0

    def read(batch: list[int]) -> dict[Swap, Float32[np.ndarray, "batch columns"]]:
        meter.done = done  # discard the count of a batch that did not fit
        running = _Batch(host, donor, prompts.some(batch), at_once, meter)
        return running.read(plan, held, prompts.columns)

    def shrink(batch: list[int]) -> bool:
        nonlocal at_once, held
        if len(batch) > 1 or (held == 1 and at_once <= lengths[batch[0]]):
            return False
        at_once, held = at_once // 2, max(1, held // 2)  # run fewer branches together
        return True

    for batch, result in run_batches(batches, read, host.device, shrink):
        for row, swap in enumerate(plan):
            logits[row, batch] = result[swap]
        watch(Swapped(tuple(batch), logits[:, batch]))
        done = meter.done
    if not np.isfinite(logits).all():
        dtype = str(host.model.dtype).removeprefix("torch.")
        raise CheckpointError(
            f"{host.model.config.name_or_path} with parts of {donor.model.config.name_or_path} gives values that are "
            f'not finite in {dtype}; set dtype = "float32", or save the weights again.'
        )
    combined = words.combine_rows(logits)
    combined.setflags(write=False)
    return combined


def _by_prompt(words: Words, watch: Callable[[Swapped], None]) -> Callable[[Swapped], None]:
    """Return a `watch` that passes on each prompt once all of its rows are done."""
    waiting: dict[int, dict[int, np.ndarray]] = {}

    def gather(batch: Swapped) -> None:
        for column, row in enumerate(batch.prompts):
            waiting.setdefault(row // words.positions, {})[row % words.positions] = batch.logits[:, column]
        done = [prompt for prompt, rows in waiting.items() if len(rows) == words.positions]
        if done:
            by_position = [waiting.pop(prompt) for prompt in done]
            stacked = np.stack(
                [np.stack([logits[i] for logits in by_position], axis=1) for i in range(words.positions)]
            )
            watch(Swapped(tuple(done), words.combine(stacked)))

    return watch if words.positions == 1 else gather


class _Batch:
    """Run the swaps of a plan on one padded batch of prompts."""

    def __init__(self, host: LoadedModel, donor: LoadedModel, batch: Prompts, tokens: int, meter: BlockMeter) -> None:
        self.host, self.donor, self.meter = host, donor, meter
        self.ids, self.readout, self.inputs = pad(batch.token_ids, batch.readout, host, batch.token_types)
        self.together = max(1, tokens // self.ids.numel())
        self.last_block = len(host.components.blocks) - 1

    @torch.inference_mode()
    def read(
        self, plan: Sequence[Swap], held: int, columns: Columns
    ) -> dict[Swap, Float32[np.ndarray, "batch columns"]]:
        """Return label logits of each swap; tensors become float32 arrays on the CPU here."""
        trunk = embed(self.host, self.ids, self.inputs)
        self.around = surroundings(self.host, self.ids, self.inputs)
        logits: dict[Swap, np.ndarray] = {}
        for start, wave in waves(plan, held):
            trunk, ends = self._wave(wave, start, trunk)
            last = torch.stack([end[:, 0].to("cpu", torch.float32) for end in ends]).numpy()
            logits |= zip(wave, label_logits(last, columns, self.host, self.host), strict=True)
        return logits

    def _wave(self, wave: Sequence[Swap], start: int, trunk: Tensor) -> tuple[Tensor, list[Tensor]]:
        """Run one wave. Returns the trunk's residuals at the last block it reached, and each swap's last residuals."""
        stems: dict[Stem, Tensor] = {}
        live = {
            swap: embed(self.donor, self.ids, self.inputs).to(trunk.device) for swap in wave if swap.part == "embed"
        }
        for stage in stages(wave, start, self.last_block + 1):
            stems |= dict.fromkeys(stage.begins, trunk)
            stems = {stem: stems[stem] for stem in stage.stems}
            for part in dict.fromkeys(part for part, _ in stage.stems):
                own = [stem for stem in stage.stems if stem[0] == part]
                attends, proceeds = (self.donor if part in (half, "block") else self.host for half in ("attn", "mlp"))
                passed = self._pass(stage.block, [stems[stem] for stem in own], attends, proceeds)
                stems |= zip(own, passed, strict=True)
            on_host = [*([trunk] if stage.trunk else []), *(live[swap] for swap in stage.live)]
            passed = self._pass(stage.block, on_host, self.host, self.host)
            if stage.trunk:
                trunk = passed.pop(0)
            live = dict(zip(stage.live, passed, strict=True))
            live |= {swap: stems[swap.part, swap.first] for swap in stage.leaving}
        return trunk, [live[swap] for swap in wave]

    def _pass(self, block: int, runs: Sequence[Tensor], attends: LoadedModel, proceeds: LoadedModel) -> list[Tensor]:
        """Return each run's residuals after the block; after the last block only those at the readout position."""
        passed: list[Tensor] = []
        rows = len(self.ids)
        for i in range(0, len(runs), self.together):
            chunk = [run.to(runs[0].device) for run in runs[i : i + self.together]]
            self.meter.step(len(chunk) * rows)
            x = attend(attends, block, torch.cat(chunk) if len(chunk) > 1 else chunk[0], self.around)
            if block == self.last_block:  # the second half of a block uses each position alone
                x = at_positions(x, self.readout.repeat(len(chunk)))[:, None]
            passed += proceed(proceeds, block, x).split(rows)
        return passed


def _check(host: LoadedModel, donor: LoadedModel, plan: Sequence[Swap]) -> None:
    """Raise CheckpointError for models that do not match, or a swap of blocks out of range."""
    check_pair(host, donor)
    if any(swap.part in ("attn", "mlp") for swap in plan):
        check_halves(host, donor)
    name, layers = host.model.config.name_or_path, len(host.components.blocks)
    wrong = [swap for swap in plan if swap.part != "embed" and not 0 <= swap.first <= swap.last < layers]
    if wrong:
        raise CheckpointError(f"{wrong[0]} cannot run: {name} has blocks 0 to {layers - 1}; choose one of those.")
