"""Studies that contradict themselves, their data or their checkpoints: what is changed, and words of the sentence.

A study whose base, data or prompts cannot be used is `REFUSED`; one of which a checkpoint cannot be used loses that
checkpoint (`PARTLY`).
"""

from __future__ import annotations

from tests.models.odd_adapters import configure, rename
from tests.models.odd_adapters import filled as full_of
from tests.models.random_adapters import TARGETS, trained
from tests.odd_changes import (
    SAMPLE,
    WORDS,
    Change,
    Odd,
    beginning,
    both,
    called,
    config,
    copies,
    dataset,
    exchanged,
    filled,
    key,
    labelled,
    rows,
    scaled,
    table,
    tokenizer,
    words,
)

LAST, ENCODER = "checkpoints/epoch-2", "bert"
FIRST = ("epoch 1",)
PATH = 'path = "checkpoints/epoch-1"'
DATA = 'path = "reviews.csv"\nsample'
MATCH = "share only some names or none; list the label values in dataset.labels"
ALIKE = "cannot be told apart: the tokens of one word begin the other, or are equal"

HALF = key('title = "Tiny"', 'title = "Tiny"\ndtype = "float16"')
TEMPLATE = 'template = "Review: {text} Sentiment:"\n'


def contrast(label: str = "label") -> Change:
    """No label words, and a column of labels."""
    return both(key(WORDS, ""), dataset(f'label = "{label}"'))


def message(content: str, template: str = "", role: str = 'role = "user"\n') -> Change:
    """A chat of one message instead of the template, or beside it."""
    return both(
        key(TEMPLATE, template), key("[training]", f'[[prompt.messages]]\n{role}content = "{content}"\n[training]')
    )


def own(texts: str, file: str = "mine.txt", more: str = "") -> Change:
    """Own texts for the Difference page: a file with these contents."""
    return both(
        lambda folder: (folder / file).write_text(texts),
        key("[training]", f'[difference]\ntexts = "{file}"\n{more}\n[training]'),
    )


REFUSED = {
    # labels against label words
    "labels without a common name": Odd(labelled("fake", "real"), MATCH),
    "labels with one common name": Odd(labelled("good", "negative"), MATCH),
    "labels in the other order": Odd(
        both(labelled("negative", "positive"), dataset('labels = ["positive", "negative"]')),
        "name the classes in different orders",
    ),
    "labels of three classes": Odd(labelled("0", "1", "2"), "has 3 label values (0, 1, 2) for 2 label words"),
    "labels of one class": Odd(labelled("1"), "has only one class (label 1)"),
    "labels that are texts": Odd(dataset('label = "text"'), "..., ...) for 2 label words; list the values to use"),
    "no labels": Odd(labelled(""), 'column "label" is empty; name the label column in dataset.label'),
    "listed labels that are nowhere": Odd(dataset("labels = [0, 2]"), "has no usable row with label 2"),
    "a label listed twice": Odd(
        dataset('labels = [1, "1"]'), "dataset.labels lists a value twice (1, '1'); list each value once"
    ),
    "three labels listed": Odd(dataset("labels = [0, 1, 2]"), "dataset.labels must list 2 different values"),
    "one label listed": Odd(dataset("labels = [0]"), "dataset.labels lists a single value; list at least two"),
    "class names in the other order": Odd(
        both(called("positive", "negative"), dataset("labels = [0, 1]")), '"0" named \'positive\', "1" named \'negat'
    ),
    "class names without a common name": Odd(
        called("good", "bad"), "\"0\" named 'good', \"1\" named 'bad') and prompt"
    ),
    "class names with one in common": Odd(called("negative", "fair"), MATCH),
    # columns and texts
    "no column of labels": Odd(dataset('label = "stars"'), 'has no column "stars" (dataset.label); its columns are'),
    "no column of texts": Odd(dataset('text = "body"'), 'has no column "body" (dataset.text); its columns are: text'),
    "numbers for texts": Odd(dataset('text = "label"'), 'column "label" holds values such as 1 instead of texts'),
    "empty texts": Odd(table(lambda found: found.assign(text="")), "has no usable row with label 0, 1 (its labels"),
    "a class without texts": Odd(
        table(lambda found: found.assign(text=found.text.where(found.label == 0, " "))), "no usable row with label 1"
    ),
    "one text only": Odd(
        table(lambda found: found.assign(text="A cast this size.")), "All 20 prompts of the sample are the same; name"
    ),
    "texts cut to nothing": Odd(
        key("max_tokens = 48", "max_tokens = 5"), "All 20 prompts of the sample are the same; raise prompt.max_tokens"
    ),
    "too few texts": Odd(key(SAMPLE, "sample = 4000"), "fewer than the 2000 needed for sample = 4000"),
    "a sample that does not divide": Odd(key(SAMPLE, "sample = 21"), "which is not divisible by 2 classes"),
    "a negative seed": Odd(dataset("seed = -1"), "dataset.seed is wrong: input should be greater than or equal to 0"),
    "data that is nowhere": Odd(key(DATA, 'path = "gone.csv"\nsample'), "does not exist; correct the data path"),
    "a folder for data": Odd(key(DATA, 'path = "checkpoints"\nsample'), "is a folder without a dataset of save"),
    "a pair of one": Odd(dataset('text = ["text"]'), "dataset.text must be a column, or a list of at least two"),
    "a pair without a place": Odd(dataset('text = ["text", "label"]'), "prompt.template has no {label}; put {label}"),
    "a pair twice": Odd(dataset('text = ["text", "text"]'), "dataset.text lists a column twice"),
    # the prompt
    "no place for the text": Odd(key("{text}", "text"), "prompt.template has no {text}; put {text} where the text"),
    "a place in capitals": Odd(key("{text}", "{Text}"), "prompt.template has no {text}"),
    "two places for the text": Odd(key("{text}", "{text} {text}"), "prompt.template has {text} more than once"),
    "a template that fills the prompt": Odd(
        key("max_tokens = 48", "max_tokens = 3"), "The template alone takes 5 tokens, more than prompt.max_tokens = 3"
    ),
    "more tokens than positions": Odd(
        both(key("max_tokens = 48", "max_tokens = 100"), key(SAMPLE, "sample = 120")), "has 64 positions; lower"
    ),
    "one label word": Odd(words("negative"), "prompt.label_words lists a single value; list at least two"),
    "equal label words": Odd(words("positive", "positive"), "prompt.label_words repeats a word"),
    "a label word that begins another": Odd(words("negative", "negative spam"), ALIKE),
    "label words behind the wrong separator": Odd(words("negative", "positive", separator="\n"), ALIKE),
    "an unknown label word": Odd(words("positive", "qwertz"), 'The tokenizer does not know the label word "qwertz"'),
    "a label word on two lines": Odd(words("bad\nword", "positive"), 'not know the label word "bad word"; choose'),
    "separators that disagree": Odd(
        words("The", "What", separator=None), "The label words are most likely after different separators (base: "
    ),
    "nobody's tokenizer": Odd(words("negative", "positive", more='tokenizer = "theirs"'), "prompt.tokenizer is wrong"),
    # kinds and chats
    "no prompt": Odd(key(TEMPLATE, ""), "prompt.template is missing; add it, or [[prompt.messages]] for a chat"),
    "a template and a chat": Odd(message("{text}", TEMPLATE), "[prompt] has both template and messages; remove one"),
    "a chat without the text": Odd(message("Judge it."), "prompt.messages has no {text}; put {text} where the text"),
    "a chat that has the text twice": Odd(message("{text} {text}"), "prompt.messages has {text} more than once"),
    "a message without a role": Odd(message("{text}", role=""), "prompt.messages[1].role is missing; add it"),
    "a chat without a chat template": Odd(
        message("{text}"), "has no chat template, nor has that of another checkpoint"
    ),
    "an unknown position": Odd(words("negative", "positive", more='position = "first"'), "prompt.position is wrong"),
    "answers at another position": Odd(
        words("negative", "positive", more='position = "text_end"'), "but answers are read at the last token; remove"
    ),
    "a written token of an encoder": Odd(key(WORDS, 'position = "generated"'), "an encoder writes no tokens", ENCODER),
    "a contrast of one class": Odd(both(contrast(), labelled("1")), "has only one class (label 1)"),
    "a contrast of texts": Odd(contrast("text"), "more than the 12 that can be compared; list the values to compare"),
    "a contrast that does not divide": Odd(
        both(contrast(), key(SAMPLE, "sample = 21")), "which is not divisible by 2 classes"
    ),
    "a contrast of a label that is nowhere": Odd(
        both(contrast(), dataset("labels = [0, 2]")), "has no usable row with label 2"
    ),
    "an order with label words": Odd(
        dataset("ordered = true"), "dataset.ordered is true, and prompt.label_words names classes; remove one of them"
    ),
    "an order with labels": Odd(
        both(contrast(), dataset("ordered = true\nlabels = [0, 1]")), "and dataset.labels names classes; remove one"
    ),
    "an order of words": Odd(
        both(contrast(), dataset("ordered = true"), labelled("good", "bad")), "holds 'good' in row 0 (counted from 0)"
    ),
    "an order of two values": Odd(
        both(contrast(), dataset("ordered = true")), "has 2 different values in the sample of an ordered label; raise"
    ),
    "more texts than there are": Odd(
        both(key(WORDS, ""), key(SAMPLE, "sample = 4000")), "usable texts, fewer than the 4000 needed"
    ),
    # own texts
    "own texts that are nowhere": Odd(
        key("[training]", '[difference]\ntexts = "gone.txt"\n[training]'), "gone.txt does not exist; correct differe"
    ),
    "own texts in a folder": Odd(
        key("[training]", '[difference]\ntexts = "base"\n[training]'), "is a folder without a dataset of save"
    ),
    "own texts of empty lines": Odd(own("\n \n"), "(difference.texts) has no texts; put 2 to 2,000 texts there, e"),
    "one own text": Odd(own("The script\n"), "(difference.texts) has 1 text; put 2 to 2,000 texts there, each a line"),
    "too many own texts": Odd(own("The script\n" * 2001), "has 2,001 texts; put 2 to 2,000 texts there, each a line"),
    "own texts with a zero byte": Odd(own("The script\n\0"), "mine.txt, line 2, holds a zero byte"),
    "own texts without a column": Odd(
        own("body\nThe script\nThe score", "mine.csv"),
        'has no column "text" (difference.column); its columns are: b',
    ),
    "own texts that are numbers": Odd(
        own('{"n": 1}\n{"n": 2}', "mine.jsonl", 'column = "n"'),
        "instead of texts; name the text column in differ",
    ),
    "own texts as a spreadsheet": Odd(own("x", "mine.xlsx"), "is a spreadsheet; save the sheet with the texts as .csv"),
    "own texts without a file": Odd(
        key("[training]", "[difference]\n[training]"), "difference.texts is missing; add it"
    ),
    # models
    "another family": Odd(key('"causal"', '"encoder"'), 'but the study has family = "encoder"; set it to "causal"'),
    "a base with values that are not finite": Odd(
        filled("base", "ln_1", float("nan")), "holds values that are not fin"
    ),
    "a base that overflows": Odd(
        both(HALF, scaled("base", "wpe", 1e8)), "in transformer.wpe.weight, beyond the largest float16 (65,504); set"
    ),
    "a base of zeros": Odd(scaled("base", "", 0.0), "holds only zeros in transformer.wte.weight, so it reads or"),
    "a label twice": Odd(key('"epoch 1"', '"epoch 2"'), 'checkpoints[2].label "epoch 2" is used twice'),
    "a checkpoint called base": Odd(key('"epoch 1"', '"base"'), "is reserved for the base"),
    "a label on two lines": Odd(key('"epoch 1"', '"epoch\\n1"'), "checkpoints[1].label must be on one line"),
    "two places of a checkpoint": Odd(key(PATH, f'{PATH}\nrepo = "a/b"'), "needs either repo (on the hub) or path"),
    "a seed of nothing": Odd(key(PATH, f'{PATH}\nseed_of = "epoch 9"'), 'seed_of "epoch 9" must be the label of a'),
    # patterns of checkpoints
    "a pattern in no folder": Odd(key(PATH, 'path = "gone/step-*"'), "gone is not a folder; correct the path"),
    "a pattern and a label that clash": Odd(
        key(f'label = "epoch 1"\n{PATH}', 'path = "checkpoints/*"'), 'checkpoints[2].label "epoch 2" is used twice'
    ),
    "two folders of one step": Odd(
        both(copies("a/step-5", "b/step-5"), key(PATH, 'path = "[ab]/step-*"')), "which are both step 5; narrow the"
    ),
    "a model of no step": Odd(
        both(copies("out/best", "out/step-5"), key(PATH, 'path = "out/*"')), "out/best, whose step is unknown; narrow"
    ),
    "steps of a folder": Odd(key(PATH, f"{PATH}\nsteps = [1]"), "checkpoints[1].steps needs a repo whose revision or"),
    "a revision without steps": Odd(key(PATH, 'repo = "a/b"\nrevision = "step{n}"'), "{n}, so it needs steps, such as"),
    "an unknown key": Odd(key('family = "causal"', 'family = "causal"\ncolour = 1'), "colour is an unknown key"),
    "a file that is not TOML": Odd(key('title = "Tiny"', "title = Tiny"), "study.toml cannot be read as TOML"),
}

PARTLY = {
    "a tokenizer that begins every text": Odd(
        tokenizer(LAST, beginning), "epoch 2 reads other token ids than the base: its own tokenizer gives <unk>"
    ),
    "a tokenizer of other numbers": Odd(tokenizer(LAST, exchanged), "cannot be compared with the base: token"),
    "values that are not finite": Odd(filled(LAST, "ln_1", float("nan")), "holds values that are not finite (transf"),
    "infinite values": Odd(filled(LAST, "c_fc", float("-inf")), "its training diverged or the save is damaged"),
    "zeros": Odd(scaled(LAST, "", 0.0), "epoch-2 holds only zeros in transformer.wte.weight, so it reads or answers"),
    "an embedding of zeros": Odd(scaled(LAST, "word_emb", 0.0), "zeros in bert.embeddings.word_embeddings", ENCODER),
    "a head of zeros": Odd(scaled(LAST, "lm_head", 0.0), "holds only zeros in lm_head.weight", "llama"),
    "a classifier of zeros": Odd(scaled(LAST, "classifier", 0.0), "holds only zeros in classifier.weight", ENCODER),
    "a weight beyond float16": Odd(
        both(HALF, scaled(LAST, "c_fc", 1e7)),
        r"epoch-2 has a weight of [\d,]+ in transformer.h.0.mlp.c_fc.weight, beyond the largest float16 .65,504.; set",
    ),
    "residuals beyond float16": Odd(
        both(HALF, scaled(LAST, "h.1.mlp", 1e3)),
        'epoch-2 gives residuals from layer 2 on that are not finite in float16; set dtype = "float32" in study',
    ),
    "residuals beyond float16 in a classifier": Odd(
        both(
            HALF,
            scaled(LAST, "layer.0.output.dense", 3e4),
            scaled(LAST, "layer.0.output.LayerNorm.weight", 3e4),
        ),
        'are not finite in float16; set dtype = "float32" in study',
        ENCODER,
    ),
    "residuals beyond float32": Odd(
        scaled(LAST, "h.1.mlp", 1e30),
        r"epoch-2 gives residuals from layer 2 on that .* in float32; its weights are dama",
    ),
    "an adapter that overflows": Odd(
        lambda folder: rename(folder / LAST, full_of(1e30)), "(cannot be merged onto its base|not finite)", "adapter"
    ),
    "an adapter of a residual base": Odd(
        lambda folder: (
            trained(folder / "base", folder / LAST, target_modules=TARGETS["llama"], init_lora_weights="pissa")
            and configure(folder / LAST, init_lora_weights=True)
        ),
        "epoch-2 holds main components of .*, as PiSSA and OLoRA leave it, and merging would count them twice",
        "adapter",
    ),
    "rows of other names": Odd(rows(LAST, "cats", "positive"), "share only some names with", ENCODER),
    "rows that contradict the labels": Odd(
        both(
            labelled("bad", "good"),
            dataset('labels = ["bad", "good"]'),
            rows("checkpoints/epoch-1", "bad", "good"),
            rows(LAST, "bad", "negative"),
        ),
        "(0 'bad', 1 'negative') contradict the study's classes",
        ENCODER,
    ),
    "rows of one name": Odd(config(LAST, id2label={"0": "good", "1": "good"}), "gives two rows one name", ENCODER),
    "a head on other label words": Odd(
        both(key(SAMPLE, "sample = 21"), labelled("0", "1", "2"), words("bad", "good", "fair")),
        "has a head of 2 classes and the study has 3 label words",
        ENCODER,
        ("epoch 1", "epoch 2"),
    ),
    "a place that is nowhere": Odd(
        key(PATH, 'path = "gone"'), "does not exist; train it with `python -m backend", labels=FIRST
    ),
    "a name that is none": Odd(
        key(PATH, 'repo = "not a name"'), '"not a name" is not the name of a hub repository', labels=FIRST
    ),
    "a repository out of reach": Odd(
        key(PATH, 'repo = "some/model"'), "some/model is not on this machine and the hub", labels=FIRST
    ),
}
