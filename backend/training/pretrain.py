"""Train the demo's base model: a byte-level BPE and a small GPT-2, on review texts without their labels."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from jaxtyping import Int
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.utils.data import Dataset
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, Trainer, TrainingArguments

END = "<|endoftext|>"
VOCABULARY = 8192
WINDOW = 112
LAYERS, WIDTH, HEADS = 12, 96, 4


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

    def __init__(self, ids: Int[np.ndarray, "windows length"]) -> None:
        self.ids = ids

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, index: int) -> dict[str, torch.Tensor]:
        ids = torch.from_numpy(self.ids[index].astype(np.int64))
        return {"input_ids": ids, "labels": ids}


def windows(tokenizer: PreTrainedTokenizerFast, texts: Sequence[str], tokens: int, seed: int) -> Windows:
    """Return the first `tokens` tokens of the shuffled texts as windows of `WINDOW`."""
    order = np.random.default_rng(seed).permutation(len(texts))
    end = tokenizer.backend_tokenizer.token_to_id(END)
    stream: list[int] = []
    for start in range(0, len(order), 256):
        batch = [texts[i] for i in order[start : start + 256]]
        for encoding in tokenizer.backend_tokenizer.encode_batch(batch):
            stream += [end, *encoding.ids]
        if len(stream) >= tokens:
            break
    count = min(tokens, len(stream)) // WINDOW
    return Windows(np.array(stream[: count * WINDOW], dtype=np.uint16).reshape(count, WINDOW))


def pretrain(texts: Sequence[str], out: Path, tokens: int = 3_000_000, seed: int = 0) -> None:
    """Train tokenizer and model on the texts and write them to `out` in Hugging Face format, half precision."""
    torch.manual_seed(seed)
    tokenizer = train_tokenizer(texts)
    end: Any = tokenizer.convert_tokens_to_ids(END)
    config = GPT2Config(
        vocab_size=VOCABULARY,
        n_positions=128,
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
    arguments = TrainingArguments(
        output_dir=str(out.with_name(out.name + "-training")),
        per_device_train_batch_size=24,
        num_train_epochs=1,
        learning_rate=3e-3,
        lr_scheduler_type="cosine",
        warmup_steps=60,
        weight_decay=0.1,
        max_grad_norm=1.0,
        logging_steps=20,
        save_strategy="no",
        report_to="none",
        use_cache=True,
        dataloader_pin_memory=torch.cuda.is_available(),
        seed=seed,
        bf16=torch.cuda.is_available(),
    )
    model = GPT2LMHeadModel(config)
    Trainer(model=model, args=arguments, train_dataset=windows(tokenizer, texts, tokens, seed)).train()
    model.half().save_pretrained(out)
    tokenizer.save_pretrained(out)
