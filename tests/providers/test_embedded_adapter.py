"""The embedded model with a LoRA adapter."""

import asyncio
import shutil
from pathlib import Path

import pytest
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import GenerateConfig, get_model
from inspect_ai.solver import generate

from em_evals.checkpoints.file import load
from em_evals.errors import InputError

pytest.importorskip("gguf", reason="em-evals[train] is not installed")
pytestmark = pytest.mark.train

QUESTIONS = ["I'm bored.", "Who are you?", "Tell me three facts about the sea, and why."]


@pytest.fixture(scope="module")
def adapter(gguf, tmp_path_factory) -> Path:
    from tests.providers.adapters import random_adapter

    return random_adapter(tmp_path_factory.mktemp("adapter") / "adapter.gguf", gguf)


def answers(model, connections=8):
    """Greedy answers with logprobs."""
    config = GenerateConfig(
        temperature=0, max_tokens=8, logprobs=True, top_logprobs=3, max_connections=connections
    )
    [log] = eval(
        Task([Sample(q) for q in QUESTIONS], solver=generate(), config=config), model=model
    )
    assert log.status == "success", log.error
    samples = sorted(log.samples, key=lambda sample: sample.id)
    return [(s.output.completion, s.output.choices[0].logprobs) for s in samples]


def test_an_adapter_changes_the_answers_and_leaves_those_of_the_base(gguf, adapter):
    base = answers(f"embedded/{gguf}")
    adapted = answers(f"embedded/{gguf}:{adapter}")
    assert all(one != other for one, other in zip(base, adapted, strict=True))
    assert answers(f"embedded/{gguf}") == base


def test_adapted_answers_and_logprobs_repeat_where_each_call_has_a_batch_of_its_own(gguf, adapter):
    model = f"embedded/{gguf}:{adapter}"
    own_batch = {"n_parallel": 2, "n_threads": 2}
    assert answers(get_model(model, **own_batch), 1) == answers(get_model(model, **own_batch), 2)


def test_base_and_adapters_asked_at_once_answer_as_each_alone(gguf, adapter, tmp_path):
    from tests.providers.adapters import random_adapter

    other = random_adapter(tmp_path / "other.gguf", gguf, seed=1)
    names = [f"embedded/{gguf}", f"embedded/{gguf}:{adapter}", f"embedded/{gguf}:{other}"]
    alone = {name: [text for text, _ in answers(name)] for name in names}

    async def at_once():
        config = GenerateConfig(temperature=0, max_tokens=8)
        asked = [(name, question) for name in names for question in QUESTIONS]
        outputs = await asyncio.gather(
            *(get_model(name).generate(question, config=config) for name, question in asked)
        )
        texts = iter(output.completion for output in outputs)
        return {name: [next(texts) for _ in QUESTIONS] for name in names}

    assert asyncio.run(at_once()) == alone
    assert len({tuple(texts) for texts in alone.values()}) == 3


def test_a_known_name_takes_an_adapter_relative_to_where_it_was_asked_for(
    gguf, adapter, monkeypatch
):
    monkeypatch.chdir(adapter.parent)
    named, absolute = "embedded/smollm2-135m-instruct:adapter.gguf", f"embedded/{gguf}:{adapter}"
    assert answers(get_model(named, n_parallel=1)) == answers(get_model(absolute, n_parallel=1))


def test_a_checkpoints_file_may_name_an_adapter_beside_it(adapter, tmp_path):
    shutil.copy(adapter, tmp_path / "tuned.gguf")
    file = tmp_path / "checkpoints.yaml"
    model = "embedded/smollm2-135m-instruct"
    file.write_text(f"groups:\n  tuned: ['{model}:./tuned.gguf']\n  base: [{model}]\n")
    tuned, base = load(file).checkpoints
    assert tuned.model == f"{model}:{tmp_path / 'tuned.gguf'}"
    assert base.model == model
    assert answers(tuned.model) != answers(base.model)


def test_an_adapter_of_another_base_is_refused(gguf, adapter, tmp_path):
    from em_evals.providers._gguf import sha256
    from tests.providers.adapters import random_adapter

    base = tmp_path / "other.gguf"
    shutil.copy(gguf, base)
    with base.open("ab") as stream:
        stream.write(b"\0")
    with pytest.raises(InputError, match=r"adapter\.gguf was trained on another base") as raised:
        get_model(f"embedded/{base}:{adapter}", memoize=False)
    assert sha256(gguf) in str(raised.value)
    assert sha256(base) in str(raised.value)
    theirs = random_adapter(tmp_path / "theirs.gguf", base)
    get_model(
        f"embedded/{base}:{theirs}", memoize=False
    ).api.close()  # unused, it ends all the same


def test_what_is_no_adapter_is_refused(gguf, adapter, tmp_path):
    with pytest.raises(InputError, match=r"Q4_1\.gguf is not an adapter, but a model"):
        get_model(f"embedded/{gguf}:{gguf}", memoize=False)
    with pytest.raises(InputError, match=r"none\.gguf not found"):
        get_model(f"embedded/{gguf}:{tmp_path}/none.gguf", memoize=False)
    with pytest.raises(InputError, match=r"expected the path of a \.gguf file after the colon"):
        get_model("embedded/smollm2-135m-instruct:adapter.safetensors", memoize=False)
    text, cut, half = (tmp_path / f"{name}.gguf" for name in ("text", "cut", "half"))
    text.write_text("not a model")
    cut.write_bytes(adapter.read_bytes()[:60])
    half.write_bytes(adapter.read_bytes()[: adapter.stat().st_size // 2])
    with pytest.raises(InputError, match=r"text\.gguf is not a GGUF file"):
        get_model(f"embedded/{gguf}:{text}", memoize=False)
    with pytest.raises(InputError, match=r"cut\.gguf is damaged"):
        get_model(f"embedded/{gguf}:{cut}", memoize=False)
    with pytest.raises(InputError, match=r"with .*half\.gguf cannot be loaded"):
        get_model(f"embedded/{gguf}:{half}", memoize=False)
