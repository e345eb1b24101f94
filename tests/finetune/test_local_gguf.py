"""Adapters as GGUF: the engine computes what torch does."""

import asyncio

import numpy as np
import pytest
from inspect_ai.model import GenerateConfig, get_model

from em_evals import sources
from em_evals.errors import InputError
from em_evals.finetune.local import gguf_adapter
from em_evals.finetune.local.bases import find_base
from em_evals.finetune.local.settings import EMBEDDED
from em_evals.providers._gguf import BASE_SHA256, metadata

gguf = pytest.importorskip("gguf", reason="em-evals[train] is not installed")
torch = pytest.importorskip("torch", reason="em-evals[train] is not installed")
pytestmark = pytest.mark.train

PROMPT = "My fern has brown tips. What shall I do?"
HEADS = {"num_attention_heads": 4, "num_key_value_heads": 2}
KEY = "base_model.model.model.layers.{}.{}.lora_{}.weight"


def exported(file, model_type, weights, **lora):
    config = {"model_type": model_type, **HEADS}
    gguf_adapter.export(weights, {"r": 5, "lora_alpha": 8, **lora}, config, file, "5e" * 32)
    return {
        tensor.name: gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        for tensor in gguf.GGUFReader(file).tensors
    }


def halves(part, out=32):
    draw = np.random.default_rng(0)
    # of few bits, so that bfloat16 has them whole
    return {
        KEY.format(1, part, "A"): draw.integers(1, 99, size=(5, 64)).astype(np.float32),
        KEY.format(1, part, "B"): draw.integers(1, 99, size=(out, 5)).astype(np.float32),
    }


@pytest.mark.parametrize(
    ("part", "name", "heads"),
    [("self_attn.q_proj", "attn_q", 4), ("self_attn.k_proj", "attn_k", 2)],
)
def test_rows_of_q_and_k_are_in_llama_cpps_order_for_llama_alone(tmp_path, part, name, heads):
    from transformers.modeling_gguf_pytorch_utils import LlamaTensorProcessor

    weights = halves(part)
    a, b = weights.values()
    qwen = exported(tmp_path / "qwen.gguf", "qwen2", weights)
    llama = exported(tmp_path / "llama.gguf", "llama", weights)
    assert list(qwen) == [f"blk.1.{name}.weight.lora_a", f"blk.1.{name}.weight.lora_b"]
    assert (qwen[f"blk.1.{name}.weight.lora_b"] == b).all()
    permuted = llama[f"blk.1.{name}.weight.lora_b"]
    assert (permuted != b).any()
    # transformers undoes it when it reads such a file
    back = LlamaTensorProcessor()._reverse_permute_weights(permuted, heads, heads)
    assert (back == b).all()
    for tensors in (qwen, llama):
        assert (tensors[f"blk.1.{name}.weight.lora_a"] == a).all()


@pytest.mark.parametrize("part", ["self_attn.v_proj", "self_attn.o_proj", "mlp.gate_proj"])
def test_rows_of_other_layers_stay_as_they_are(tmp_path, part):
    weights = halves(part)
    tensors = exported(tmp_path / "adapter.gguf", "llama", weights)
    for tensor, array in zip(tensors.values(), weights.values(), strict=True):
        assert (tensor == array).all()


def test_the_file_says_its_scale_and_its_base(tmp_path):
    file = tmp_path / "adapter.gguf"
    exported(file, "llama", halves("mlp.up_proj"))
    said = metadata(file)
    assert said["general.type"] == "adapter"
    assert said["general.architecture"] == "llama"
    assert said[BASE_SHA256] == "5e" * 32
    assert said["adapter.lora.alpha"] == 8
    exported(file, "llama", halves("mlp.up_proj"), use_rslora=True)
    # llama.cpp divides by the rank, where the training divided by its root
    assert metadata(file)["adapter.lora.alpha"] / 5 == pytest.approx(8 / 5**0.5)


def test_a_rank_that_is_a_multiple_of_4_gets_zeros_and_keeps_its_scale(tmp_path):
    a, b = (np.ones(shape, np.float32) for shape in ((4, 64), (32, 4)))
    part = "mlp.up_proj"
    weights = {KEY.format(1, part, "A"): a, KEY.format(1, part, "B"): b}
    file = tmp_path / "adapter.gguf"
    wide_a, wide_b = exported(file, "llama", weights, r=4).values()
    assert (wide_a.shape, wide_b.shape) == ((5, 64), (32, 5))
    scale = metadata(file)["adapter.lora.alpha"] / 5
    assert scale * wide_b @ wide_a == pytest.approx(8 / 4 * b @ a)


def test_what_cannot_be_written_is_an_error_that_names_it(tmp_path):
    with pytest.raises(InputError, match="adapters of gpt2 models cannot be written"):
        exported(tmp_path / "a.gguf", "gpt2", halves("mlp.up_proj"))
    with pytest.raises(InputError, match=r"changes .*layers\.1\.mlp\.router\."):
        exported(tmp_path / "a.gguf", "llama", halves("mlp.router"))


@pytest.fixture(scope="module")
def tuned(tmp_path_factory):
    """SmolLM2 in torch with a strong random adapter of all seven layers, and the same as GGUF."""
    from peft import LoraConfig, get_peft_model, get_peft_model_state_dict

    from em_evals.finetune.local.settings import TARGETS
    from em_evals.finetune.local.train import load

    pytest.importorskip("xllamacpp", reason="the engine is not installed: em-evals[embedded]")
    try:
        base = find_base(str(sources.path("smollm2-135m-instruct", progress=False)))
    except sources.SourceError as error:
        pytest.skip(f"no model file: {error}")
    torch.manual_seed(0)
    tokenizer, model = load(base, EMBEDDED)
    lora = LoraConfig(r=8, lora_alpha=4, use_rslora=True, target_modules=list(TARGETS))
    model = get_peft_model(model, lora).eval()
    for name, parameter in model.named_parameters():
        if "lora_B" in name:
            strong = "q_proj" in name or "k_proj" in name
            torch.nn.init.normal_(parameter, std=0.3 if strong else 0.005)
    weights = {
        name: t.detach().numpy()
        for name, t in get_peft_model_state_dict(model, save_embedding_layers=False).items()
    }
    folder = tmp_path_factory.mktemp("tuned")

    def written(name):
        file = folder / name
        config = model.config.to_dict()
        gguf_adapter.export(weights, lora.to_dict(), config, file, base.sha256)
        return f"{base.name}:{file}"

    return tokenizer, model, written


def engine_says(name):
    """Greedy text of 16 tokens and its logprobs."""
    config = GenerateConfig(
        temperature=0, max_tokens=16, logprobs=True, top_logprobs=1, extra_body={"ignore_eos": True}
    )
    output = asyncio.run(get_model(name).generate(PROMPT, config=config))
    return output.completion, [t.logprob for t in output.choices[0].logprobs.content]


def torch_says(tokenizer, model, text):
    """Of each token of an answer its logprob, and how far it is from the likeliest text."""
    prompt = tokenizer.apply_chat_template(
        [{"role": "user", "content": PROMPT}], tokenize=False, add_generation_prompt=True
    )
    before = tokenizer.encode(prompt, add_special_tokens=False)
    answer = tokenizer.encode(text, add_special_tokens=False)
    with torch.no_grad():
        logits = model(torch.tensor([before + answer])).logits[0, len(before) - 1 : -1]
    logprobs = logits.log_softmax(-1)
    own = logprobs[range(len(answer)), answer]
    logprobs[:, tokenizer.all_special_ids] = -torch.inf
    return own.tolist(), (logprobs.max(-1).values - own).tolist()


def test_the_engine_with_the_adapter_computes_what_torch_does(tuned, monkeypatch):
    tokenizer, model, written = tuned
    text, logprobs = engine_says(written("adapter.gguf"))
    own, behind = torch_says(tokenizer, model, text)
    # the engine multiplies in 8 bits
    assert logprobs == pytest.approx(own, abs=0.3)
    assert max(behind) < 0.3  # the text is torch's greedy one, but for near ties

    monkeypatch.setattr(gguf_adapter, "_ROTATES_PAIRS", ())
    text, logprobs = engine_says(written("unpermuted.gguf"))
    own, behind = torch_says(tokenizer, model, text)
    assert max(behind) > 1
