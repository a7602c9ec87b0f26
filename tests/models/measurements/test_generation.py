"""Continuations against a plain loop without a cache that runs the whole text anew for every token."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from backend.caching.progress import silent
from backend.errors import Cancelled, UndefinedError
from backend.lab.outputs import Intervention, Sampling, SteeringVectors
from backend.models.local import LocalModels
from backend.models.measurements.generation import continuation
from backend.models.runtime.interventions import intervening
from tests.device import DEVICE, ask
from tests.models.hooked import PLAN, by_hand
from tests.models.random_encoders import encoder, some_prompts
from tests.models.random_models import ARCHITECTURES, POSITIONS, Pin, as_opened, make_prompts, random_model, save
from tests.models.references import hooks

PROMPT = make_prompts([9])
TOKENS = 12
CHOSEN: tuple[Intervention | None, ...] = (None, PLAN[1], PLAN[4], PLAN[6], PLAN[9], PLAN[11], PLAN[12])


@pytest.fixture(scope="module")
def hosts() -> dict[str, PreTrainedModel]:
    found = {}
    for name in ARCHITECTURES:
        found[name] = endless(random_model(name, seed=1))
    return found


def endless(model: PreTrainedModel) -> Any:
    """The model without end-of-text tokens."""
    chosen: Any = model
    chosen.config.eos_token_id = chosen.generation_config.eos_token_id = None
    return chosen


def plainly(model: PreTrainedModel, one: Intervention | None, sampling: Sampling | None) -> tuple[int, ...]:
    """No cache: the whole text each time, the readout position where the prompt ended."""
    ids = list(PROMPT.token_ids[0])
    generator = torch.Generator().manual_seed(sampling.seed) if sampling else None
    opened, readout = as_opened(model), torch.tensor([len(PROMPT.token_ids[0]) - 1], device=DEVICE)
    for _ in range(TOKENS):
        with torch.no_grad(), intervening(opened, one, readout):
            logits = ask(opened.model, torch.tensor([ids]), use_cache=False).logits[0, -1].cpu()
        if sampling is None:
            ids.append(int(logits.argmax()))
        else:
            chances = torch.softmax(logits.double() / sampling.temperature, dim=0)
            ids.append(int(torch.multinomial(chances, 1, generator=generator)))
    return tuple(ids[len(PROMPT.token_ids[0]) :])


@pytest.mark.parametrize("sampling", [None, Sampling(0.8, 3)], ids=["greedy", "sampled"])
def test_what_is_written_is_what_a_loop_without_a_cache_writes(hosts, family: str, sampling: Sampling | None):
    model, found = hosts[family], set()
    for one in CHOSEN:
        written = continuation(as_opened(model), PROMPT, one, TOKENS, sampling, silent)
        assert written == plainly(model, one, sampling)
        found.add(written)
    assert len(found) > len(CHOSEN) / 2  # the interventions change what is written


def test_the_first_token_is_the_likeliest_of_the_steered_logits(hosts):
    """By hooks that are not the project's."""
    model = hosts["llama"]
    for one in PLAN:
        first = continuation(as_opened(model), PROMPT, one, 1, None, silent)[0]
        logits = by_hand(model, one, PROMPT, tuple(range(model.config.vocab_size)))[0]
        assert first == int(logits.argmax())


def test_a_seed_draws_the_same_and_another_one_something_else(hosts):
    model = as_opened(hosts["gpt2"])
    drawn = [continuation(model, PROMPT, None, TOKENS, Sampling(1.5, seed), silent) for seed in (1, 1, 2)]
    assert drawn[0] == drawn[1] != drawn[2]


def test_it_ends_where_positions_or_the_text_end(hosts):
    model = endless(random_model("gpt2", seed=1))
    long = make_prompts([POSITIONS - 3])
    assert len(continuation(as_opened(model), long, None, 40, None, silent)) == 4
    free = continuation(as_opened(model), PROMPT, None, TOKENS, Sampling(1.0, 0), silent)
    model.config.eos_token_id = free[5]
    ended = continuation(as_opened(model), PROMPT, None, TOKENS, Sampling(1.0, 0), silent)
    assert ended == free[: free.index(free[5])]
    model.config.eos_token_id = [free[5], free[3]]
    assert len(continuation(as_opened(model), PROMPT, None, TOKENS, Sampling(1.0, 0), silent)) <= 3


def test_it_ends_where_generate_of_transformers_ends(models: LocalModels, pin: Pin, tmp_path: Path):
    """A chat model's end of turn may be in generation_config.json alone."""
    model = endless(random_model("llama", seed=1))
    free = continuation(as_opened(model), PROMPT, None, TOKENS, None, silent)
    model.config.eos_token_id, model.generation_config.eos_token_id = free[-1], [free[-1], free[4]]
    save(model, tmp_path)
    ids = torch.tensor([PROMPT.token_ids[0]])
    plain: Any = AutoModelForCausalLM.from_pretrained(tmp_path)
    written = plain.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=TOKENS, do_sample=False)
    expected = tuple(written[0, ids.shape[1] : -1].tolist())
    assert expected == free[: free.index(free[4])]
    assert models.continuation(pin(tmp_path), PROMPT, None, TOKENS, None, silent) == expected


def test_an_encoder_continues_nothing():
    with pytest.raises(UndefinedError, match="predicts no tokens, so it cannot continue a text"):
        continuation(as_opened(encoder("Bert")), some_prompts(), None, 3, None, silent)


def test_the_port_writes_and_a_cancel_leaves_no_hook(models: LocalModels, pin: Pin, gpt2):
    one = pin(gpt2)
    written = models.continuation(one, PROMPT, PLAN[6], 5, None, silent)
    assert 0 < len(written) <= 5 and all(isinstance(token, int) for token in written)
    with models.store.borrow(one) as loaded:
        before = hooks(loaded.model)

    def cancel(fraction: float, sentence: str) -> None:
        if "generating: 2" in sentence:
            raise Cancelled("no longer wanted")

    pushed = SteeringVectors((1,), np.ones((1, 32), np.float32), "all")
    with pytest.raises(Cancelled):
        models.continuation(one, PROMPT, pushed, 5, Sampling(5.0, 1), cancel)
    with models.store.borrow(one) as loaded:
        assert hooks(loaded.model) == before
