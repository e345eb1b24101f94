"""The embedded model through Inspect's own interfaces."""

import asyncio
import math
import subprocess
import sys

import anyio
import pytest
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.model import (
    ChatMessageAssistant,
    ChatMessageUser,
    ContentImage,
    GenerateConfig,
    get_model,
)
from inspect_ai.scorer import Score, mean, scorer
from inspect_ai.solver import generate
from inspect_ai.tool import ToolInfo

from em_evals import sources
from em_evals.errors import InputError

QUESTIONS = ["I'm bored.", "Who are you?", "Tell me three facts about the sea, and why."]
LONG = "The sea is deep and the sky is wide, and nobody knows what lies beyond. " * 8


def probe(questions=QUESTIONS, scorer=None, **config):
    """A task of a few short answers."""
    return Task(
        [Sample(question, id=index) for index, question in enumerate(questions)],
        solver=generate(),
        scorer=scorer,
        config=GenerateConfig(**{"max_tokens": 12} | config),
    )


def run(task, **kwargs):
    [log] = eval(task, **kwargs)
    assert log.status == "success", log.error
    return log


def answers(log):
    return {(sample.id, sample.epoch): sample.output.completion for sample in log.samples}


def ask(model, prompt="Who are you?", **config):
    return asyncio.run(
        get_model(model, memoize=False).generate(
            prompt, config=GenerateConfig(**{"max_tokens": 8} | config)
        )
    )


def sent(log):
    """The requests of a log's first sample."""
    return [event.call.request for event in log.samples[0].events if event.event == "model"]


def test_epochs_differ_under_one_seed_and_the_run_repeats(smollm2):
    logs = [run(probe(QUESTIONS[:1], seed=7), model=smollm2, epochs=3) for _ in range(2)]
    assert len(set(answers(logs[0]).values())) == 3
    assert answers(logs[0]) == answers(logs[1])
    assert answers(run(probe(QUESTIONS[:1], seed=8), model=smollm2, epochs=3)) != answers(logs[0])


def test_answers_and_logprobs_are_the_same_at_1_and_8_connections(smollm2):
    # long and short prompts at once: their batches mix in ways that depend on the time
    questions = [QUESTIONS[0], LONG, f"{LONG} Why?"]
    logs = [
        run(
            probe(
                questions, logprobs=True, top_logprobs=5, max_tokens=8, max_connections=connections
            ),
            model=smollm2,
            epochs=2,
        )
        for connections in (1, 8)
    ]
    assert answers(logs[0]) == answers(logs[1])
    one, eight = (
        {(s.id, s.epoch): s.output.choices[0].logprobs.model_dump() for s in log.samples}
        for log in logs
    )
    assert one == eight


def test_a_prompt_that_the_engine_has_cached_gives_the_same_logprobs(smollm2):
    settings = {"temperature": 0, "logprobs": True, "top_logprobs": 5}
    fresh, filling, cached = (
        ask(smollm2, LONG, cache_prompt=cache, **settings) for cache in (False, True, True)
    )
    assert fresh.choices[0].logprobs == filling.choices[0].logprobs == cached.choices[0].logprobs


def test_calls_made_at_once_in_a_scorer_repeat_in_any_order(smollm2):
    @scorer(metrics=[mean()])
    def two_judges(prompts):
        async def score(state, target):
            replies = {}

            async def judge(number, prompt):
                output = await get_model(role="grader").generate(prompt)
                replies.setdefault(prompt, []).append(output.completion)

            async with anyio.create_task_group() as group:
                for number, prompt in enumerate(prompts):
                    group.start_soon(judge, number, prompt)
            return Score(value=1, metadata={key: sorted(texts) for key, texts in replies.items()})

        return score

    def judged(prompts):
        grader = get_model(smollm2, config=GenerateConfig(max_tokens=8))
        log = run(
            probe(QUESTIONS[:1], two_judges(prompts)), model=smollm2, model_roles={"grader": grader}
        )
        return log.samples[0].scores["two_judges"].metadata

    replies = judged(["Is it good?", "Is it bad?", "Is it good?"])
    assert replies == judged(["Is it bad?", "Is it good?", "Is it good?"])
    assert len(set(replies["Is it good?"])) == 2


def test_calls_outside_a_sample_differ_and_a_new_model_repeats_them(smollm2):
    async def two():
        model = get_model(smollm2, memoize=False, config=GenerateConfig(max_tokens=12))
        return [(await model.generate("Tell me a story.")).completion for _ in range(2)]

    first, second = asyncio.run(two()), asyncio.run(two())
    assert first == second
    assert first[0] != first[1]


def test_temperature_0_is_greedy_in_every_epoch(smollm2):
    log = run(probe(QUESTIONS[:1], temperature=0), model=smollm2, epochs=2)
    assert len(set(answers(log).values())) == 1


def test_choices_differ(smollm2):
    output = ask(smollm2, "Tell me a story.", num_choices=3)
    assert len({choice.message.text for choice in output.choices}) == 3
    assert output.usage.output_tokens == 24


def test_the_context_is_rounded_as_the_engine_rounds_it(smollm2):
    model = get_model(smollm2, n_parallel=1, n_ctx=200)
    output = asyncio.run(model.generate("word " * 300))
    assert "the context 256" in output.error


def test_logprobs_are_20_of_a_distribution(smollm2):
    output = ask(smollm2, logprobs=True, top_logprobs=20)
    content = output.choices[0].logprobs.content
    assert len(content) == output.usage.output_tokens == 8
    assert "".join(token.token for token in content) == output.completion
    for token in content:
        tops = [top.logprob for top in token.top_logprobs]
        assert len(tops) == 20
        assert sum(map(math.exp, tops)) <= 1 + 1e-5
        assert tops == sorted(tops, reverse=True)


def test_logprobs_are_only_there_when_asked_for(smollm2):
    assert ask(smollm2).choices[0].logprobs is None


@pytest.mark.parametrize("none", [{}, {"top_logprobs": 0}])
def test_without_top_logprobs_the_answers_own_tokens_have_theirs_and_no_others(smollm2, none):
    alone = ask(smollm2, seed=5, logprobs=True, **none).choices[0]
    beside = ask(smollm2, seed=5, logprobs=True, top_logprobs=20).choices[0]
    assert alone.message.text == beside.message.text
    tokens = [[token.token for token in each.logprobs.content] for each in (alone, beside)]
    assert tokens[0] == tokens[1]
    told = [[token.logprob for token in each.logprobs.content] for each in (alone, beside)]
    assert told[0] == pytest.approx(told[1], abs=1e-5)
    # sampled, so that not every token is the likeliest
    assert any(t.token != t.top_logprobs[0].token for t in beside.logprobs.content)
    assert all(token.top_logprobs == [] for token in alone.logprobs.content)
    [one] = ask(smollm2, max_tokens=1, logprobs=True, top_logprobs=1).choices[0].logprobs.content
    assert len(one.top_logprobs) == 1


def test_an_answer_goes_on_with_a_last_message_of_the_assistants(smollm2):
    beginning = [
        ChatMessageUser(content="What is the capital of France?"),
        ChatMessageAssistant(content="The capital of France is"),
    ]
    output = ask(smollm2, beginning, temperature=0, max_tokens=2, logprobs=True, top_logprobs=20)
    # not repeated, neither in the text nor in the tokens
    assert output.completion.startswith(" Paris")
    first = output.choices[0].logprobs.content[0].top_logprobs
    assert {" Paris", " London"} <= {each.token for each in first}


def test_tags_of_reasoning_stay_in_the_text(smollm2):
    said = "<think>\\nhm\\n</think>\\nParis"
    grammar = {"grammar": f'root ::= "{said}"'}
    output = ask(smollm2, max_tokens=40, extra_body=grammar)
    assert output.completion == "<think>\nhm\n</think>\nParis"


def test_generation_stops_at_max_tokens_and_at_a_stop_sequence(smollm2):
    whole = ask(smollm2, temperature=0, max_tokens=20)
    assert whole.stop_reason == "max_tokens"
    assert whole.usage.output_tokens == 20
    word = whole.completion.split()[3]
    stopped = ask(smollm2, temperature=0, max_tokens=20, stop_seqs=[word])
    assert stopped.stop_reason == "stop"
    assert stopped.completion == whole.completion[: whole.completion.index(word)]


@pytest.mark.parametrize("prompt", ["word " * 300, "word " * 20_000], ids=["longer", "100 kB"])
def test_a_prompt_longer_than_the_context_is_an_empty_answer_that_says_so(smollm2, prompt):
    model = get_model(smollm2, n_parallel=1, n_ctx=256)
    output = asyncio.run(model.generate(prompt))
    assert (output.stop_reason, output.completion) == ("model_length", "")
    assert f"{output.usage.input_tokens} tokens, the context 256" in output.error


def test_an_answer_that_fills_the_context_stops_there(smollm2):
    model = get_model(smollm2, n_parallel=1, n_ctx=256)
    endless = GenerateConfig(extra_body={"ignore_eos": True})
    output = asyncio.run(model.generate("Who are you?", config=endless))
    assert output.stop_reason == "model_length"


def test_what_the_user_does_not_set_is_sent_as_neutral(smollm2):
    [request] = sent(run(probe(QUESTIONS[:1]), model=smollm2))
    neutral = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0, "repeat_penalty": 1.0}
    assert neutral.items() <= request.items()
    assert request["messages"] == [{"role": "user", "content": QUESTIONS[0]}]


def test_what_the_user_sets_is_sent(smollm2):
    config = {"temperature": 0.5, "top_k": 5, "top_p": 0.9, "presence_penalty": 0.25}
    task = probe(QUESTIONS[:1], **config, extra_body={"min_p": 0.125})
    [request] = sent(run(task, model=smollm2))
    assert (config | {"min_p": 0.125}).items() <= request.items()


def test_usage_is_counted_with_the_models_own_tokens(smollm2):
    model = get_model(smollm2)
    assert ask(smollm2).usage.output_tokens == 8
    assert asyncio.run(model.api.count_text_tokens("The sea is deep.")) == 5


def test_target_and_grader_share_one_engine_and_may_close_it(smollm2, monkeypatch):
    import xllamacpp

    loads = []
    server = xllamacpp.Server
    monkeypatch.setattr(xllamacpp, "Server", lambda params: loads.append(params) or server(params))
    options = {"n_parallel": 3, "n_threads": 1}  # no other test's engine

    async def both():
        async with get_model(smollm2, config=GenerateConfig(max_tokens=4), **options) as target:
            config = GenerateConfig(max_tokens=1, temperature=0)
            async with get_model(smollm2, role="grader", config=config, **options) as grader:
                await grader.generate("Who are you?")
            await target.generate("Who are you?")
            return len(loads)

    assert asyncio.run(both()) == 1
    assert asyncio.run(both()) == 2  # the last user freed the first


def test_the_event_loop_is_free_while_the_model_answers(smollm2):
    async def ticks():
        model = get_model(smollm2)
        ticked = 0
        async with anyio.create_task_group() as group:

            async def tick():
                nonlocal ticked
                while True:
                    await anyio.sleep(0)
                    ticked += 1

            group.start_soon(tick)
            before = ticked
            await model.generate("Who are you?", config=GenerateConfig(max_tokens=16))
            group.cancel_scope.cancel()
        return ticked - before

    assert asyncio.run(ticks()) > 100


def test_a_cancelled_call_ends_and_the_next_one_is_answered(smollm2):
    async def cancel():
        model = get_model(smollm2, n_parallel=1, n_ctx=2048)
        endless = GenerateConfig(extra_body={"ignore_eos": True})
        with anyio.move_on_after(0.5) as scope:
            await model.generate("Who are you?", config=endless)
        assert scope.cancelled_caught
        return await model.generate("Who are you?", config=GenerateConfig(max_tokens=2))

    assert asyncio.run(cancel()).stop_reason == "max_tokens"


@pytest.mark.parametrize(
    "config",
    [
        {"top_logprobs": 21, "logprobs": True},
        {"reasoning_effort": "low"},
        {"logit_bias": {1: 2.0}},
        {"best_of": 2},
    ],
)
def test_what_is_not_supported_is_an_error_that_names_it(smollm2, config):
    with pytest.raises(InputError, match=next(iter(config))):
        ask(smollm2, **config)


def test_tools_and_images_are_errors(smollm2):
    model = get_model(smollm2)
    tool = ToolInfo(name="look", description="Looks.")
    with pytest.raises(InputError, match="do not support tools"):
        asyncio.run(model.generate("Look.", tools=[tool]))
    image = ChatMessageUser(content=[ContentImage(image="data:image/png;base64,AAAA")])
    with pytest.raises(InputError, match="do not support image"):
        asyncio.run(model.generate([image]))


def test_a_missing_engine_is_an_error_with_the_command_that_mends_it(smollm2, monkeypatch):
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    with pytest.raises(InputError, match=r"pip install 'em-evals\[embedded\]'"):
        get_model(smollm2, n_parallel=2, memoize=False)


def test_an_unknown_name_lists_the_known():
    with pytest.raises(InputError, match="smollm2-135m-instruct"):
        get_model("embedded/gpt-4o")


def test_a_known_name_comes_from_the_sources(monkeypatch):
    def unavailable(name):
        raise sources.UnavailableError(f"{name} is nowhere")

    monkeypatch.setattr(sources, "path", unavailable)
    with pytest.raises(sources.SourceError, match="smollm2-135m-instruct is nowhere"):
        get_model("embedded/smollm2-135m-instruct", memoize=False)


def test_missing_wrong_and_damaged_files_are_errors_that_name_the_file(gguf, tmp_path):
    with pytest.raises(InputError, match=r"no/such\.gguf not found"):
        get_model("embedded/no/such.gguf")
    wrong, damaged = tmp_path / "wrong.gguf", tmp_path / "damaged.gguf"
    wrong.write_text("not a model")
    with gguf.open("rb") as stream:
        damaged.write_bytes(stream.read(3_000_000))
    with pytest.raises(InputError, match=r"wrong\.gguf is not a GGUF file"):
        get_model(f"embedded/{wrong}")
    with pytest.raises(InputError, match=r"damaged\.gguf cannot be loaded"):
        get_model(f"embedded/{damaged}")


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_a_process_is_quiet_and_ends_well(smollm2, backend, tmp_path):
    if backend == "trio":
        pytest.importorskip("trio")
    script = f"""
from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
[log] = eval(Task([Sample("Hi")]), model="{smollm2}", max_tokens=2, display="none")
assert log.status == "success", log.error
"""
    done = subprocess.run(
        [sys.executable, "-c", script],
        check=False,
        env={"INSPECT_ASYNC_BACKEND": backend, "HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_provider_does_not_import_the_engine_until_a_model_is_made():
    script = "import sys, em_evals._registry; assert 'xllamacpp' not in sys.modules"
    subprocess.run([sys.executable, "-c", script], check=True)


def test_the_same_model_behind_openais_protocol_is_target_and_logprob_grader(openai_server):
    def served(**config):
        return get_model(
            "openai-api/local/smollm2",
            base_url=openai_server,
            api_key="none",
            config=GenerateConfig(**config),
        )

    @scorer(metrics=[mean()])
    def mass_of_tops():
        async def score(state, target):
            output = await get_model(role="grader").generate("Rate it from 0 to 9.")
            [token] = output.choices[0].logprobs.content
            assert len(token.top_logprobs) == 20
            return Score(value=sum(math.exp(top.logprob) for top in token.top_logprobs))

        return score

    log = run(
        probe(QUESTIONS[:2], mass_of_tops()),
        model=served(),
        model_roles={"grader": served(max_tokens=1, temperature=0, logprobs=True, top_logprobs=20)},
    )
    assert 0 < log.results.scores[0].metrics["mean"].value <= 1 + 1e-5
