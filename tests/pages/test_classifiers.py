"""Every page on a real study of classifiers whose base is a language model: it is drawn, or said why it is not."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from streamlit.testing.v1 import AppTest

from backend import wiring
from backend.caching.jobs import Jobs
from backend.study.config import load_study
from tests.fake_texts import fake_sample
from tests.pages.conftest import ROOT, charts, settle
from tests.tiny import tiny_study

TEXT = fake_sample(3).text[0]
DRAWN = [
    ("overview", {}),
    *(("layers", {"show": show}) for show in ("direction", "cosines", "map", "sample")),
    *(("layers", {"show": "similarity", "similarity": shown}) for shown in ("curves", "grid", "roles", "distances")),
    *(("tokens", {"show": show}) for show in ("shift", "groups")),
    ("tokens", {"matrix": "output"}),
    ("tokens", {"show": "map", "method": "pca", "matrix": "output"}),
    *(("probes", {"show": show}) for show in ("curves", "reviews", "linear", "inherited", "parts")),
    ("probes", {"reference": "epoch 1", "norm": "published"}),
    ("probes", {"reference": "epoch 1", "show": "parts", "parts": "change"}),
    *(
        ("swaps", {"mode": mode, "host": "epoch 1", "donor": "base"})
        for mode in ("single", "cumulative", "range", "freeze")
    ),
    ("swaps", {"mode": "single", "reference": "epoch 1"}),
    ("swaps", {"mode": "patching"}),
    *(("swaps", {"mode": "steering", "steer": steer}) for steer in ("coefficient", "layers")),
    ("swaps", {"mode": "steering", "steer": "transfer", "reference": "epoch 1"}),
    ("features", {}),
    *(("review", {"text": TEXT, "heat": heat}) for heat in ("logit_diff", "projection", "norm", "relative", "feature")),
    *(("review", {"text": TEXT, "show": show}) for show in ("words", "patching", "steered", "nearest")),
]
SAID = [
    ("tokens", {"show": "output"}, "base predicts no tokens"),
    ("layers", {"show": "similarity", "similarity": "unembedding"}, "base predicts no tokens"),
    ("probes", {"head": "base"}, "base is a causal model without a classification head"),
    ("probes", {"norm": "published"}, "base is a causal model without a classification head"),
    ("probes", {"show": "parts", "parts": "change"}, "base is a causal model without a classification head"),
    ("probes", {"epoch": "base"}, "base is a causal model without a classification head"),
    ("swaps", {"mode": "single"}, "base is a causal model without a classification head"),
    ("swaps", {"mode": "steering", "steer": "transfer"}, "base has no head to answer with"),
    ("swaps", {"mode": "steering", "steer": "ablation"}, "These models predict no tokens"),
    ("review", {"text": TEXT, "heat": "next"}, "These models predict no next token"),
    ("review", {"text": TEXT, "show": "steered"}, "there are no continuations: base, epoch 2"),
    ("features", {"more": "quality"}, "promoted tokens are undefined"),
]


@pytest.fixture(scope="module")
def _study(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The dashboard finds this study alone, and one cache for all tests."""
    root = tmp_path_factory.mktemp("classifiers")
    study = load_study(tiny_study(root / "tiny", epochs=(1, 2), family="gpt2-classifier"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LAYERSHIFT_CACHE", str(root / "cache"))
        wiring.open_lab.cache_clear()
        lab, jobs = wiring.open_lab(), Jobs()
        patch.setattr(wiring, "open_lab", lambda: lab)
        patch.setattr(wiring, "jobs", lambda: jobs)
        patch.setattr(wiring, "studies", lambda: {"tiny": study})
        yield
    wiring.open_lab.cache_clear()


def opened(page: str, address: dict[str, str]) -> AppTest:
    test = AppTest.from_file(str(ROOT / "app.py"), default_timeout=60)
    for key, value in address.items():
        test.query_params[key] = value
    test.switch_page(f"pages/{page}.py")
    test = settle(test.run())
    for button in [one for one in test.button if one.label.startswith(("Train", "Read", "Place", "Patch"))]:
        test = settle(button.click().run())
    assert [one.value for one in (*test.error, *test.warning)] == []
    return test


@pytest.mark.usefixtures("_study")
@pytest.mark.parametrize(("page", "address"), DRAWN)
def test_what_is_defined_is_drawn(page: str, address: dict[str, str]):
    test = opened(page, address)
    assert charts(test) or test.get("html") or test.table


@pytest.mark.usefixtures("_study")
@pytest.mark.parametrize(("page", "address", "sentence"), SAID)
def test_what_is_undefined_is_said(page: str, address: dict[str, str], sentence: str):
    test = opened(page, address)
    assert any(sentence in one.value for one in (*test.info, *test.caption))
