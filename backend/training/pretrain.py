"""Train the demo's base model: a byte-level BPE and a small GPT-2, on review texts without their labels."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import UInt16
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, Trainer, TrainingArguments

from backend.training.base import last_saved

END = "<|endoftext|>"
VOCABULARY = 8192
WINDOW = 128
LAYERS, WIDTH, HEADS = 12, 128, 4
STEPS, WINDOWS_PER_STEP = 6000, 192


def train_tokenizer(texts: Sequence[str]) -> PreTrainedTokenizerFast:
    """Train a byte-level BPE of 8,192 tokens on the texts; `<|endoftext|>` is id 0 and also the padding token."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY,
        special_tokens=[END],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, bos_token=END, eos_token=END, pad_token=END)


class Windows(Dataset):
    """Texts joined by the end token and cut into windows of equal length."""

    def __init__(self, ids: UInt16[np.ndarray, "windows length"]) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = torch.from_numpy(self.ids[index].astype(np.int64))
        return {"input_ids": ids, "labels": ids}


def windows(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], seed: int) -> Windows:
    """Return the shuffled texts, each after an end token, joined and cut into windows of `WINDOW` tokens."""
    end = tokenizer.backend_tokenizer.token_to_id(END)
    shuffled = [texts[i] for i in np.random.default_rng(seed).permutation(len(texts))]
    stream = np.concatenate([[end, *one.ids] for one in tokenizer.backend_tokenizer.encode_batch(shuffled)])
    count = len(stream) // WINDOW
    return Windows(stream[: count * WINDOW].astype(np.uint16).reshape(count, WINDOW))


def small_gpt2(end: int) -> GPT2LMHeadModel:
    """Return an untrained GPT-2 of 3.44 M parameters, whose start, end and padding token is `end`."""
    return GPT2LMHeadModel(
        GPT2Config(
            vocab_size=VOCABULARY,
            n_positions=WINDOW,
            n_embd=WIDTH,
            n_layer=LAYERS,
            n_head=HEADS,
            activation_function="gelu_pytorch_tanh",
            resid_pdrop=0.0,
            embd_pdrop=0.0,
            attn_pdrop=0.0,
            bos_token_id=end,
            eos_token_id=end,
            pad_token_id=end,
        )
    )


def pretrain(texts: Sequence[str], out: Path, steps: int = STEPS, seed: int = 0) -> None:
    """Train tokenizer and model on the texts and write them to `out` in Hugging Face format, half precision.

    An interrupted run resumes from its state in a folder beside `out`, which is deleted at the end.
    """
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(texts)
    end: Any = tokenizer.convert_tokens_to_ids(END)
    state = out.with_name(out.name + "-training")
    arguments = TrainingArguments(
        output_dir=str(state),
        per_device_train_batch_size=WINDOWS_PER_STEP,
        max_steps=steps,
        learning_rate=3e-3,
        lr_scheduler_type="cosine",
        warmup_steps=200,
        weight_decay=0.1,
        adam_beta1=0.9,
        adam_beta2=0.95,
        max_grad_norm=1.0,
        logging_steps=100,
        save_strategy="steps",
        save_steps=max(1, steps // (12 if torch.cuda.is_available() else 300)),  # some minutes each
        save_total_limit=1,
        report_to="none",
        use_cache=True,
        dataloader_num_workers=4 if torch.cuda.is_available() else 0,
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=seed,
        bf16=torch.cuda.is_available(),
    )
    model = small_gpt2(end)
    trainer = Trainer(model=model, args=arguments, train_dataset=windows(tokenizer, texts, seed))
    trainer.train(resume_from_checkpoint=last_saved(state))
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
    shutil.rmtree(state)
