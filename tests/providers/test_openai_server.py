"""The whole way to a score through a real server of OpenAI's protocol, with the real SDK."""

from inspect_ai import eval
from inspect_ai.model import get_model

from em_evals.first_plot import first_plot


def test_first_plot_with_target_and_logprob_grader_behind_openais_protocol(openai_server):
    model = get_model("openai-api/loopback/smollm2", base_url=openai_server, api_key="none")
    [log] = eval(
        first_plot(source="builtin", questions=["evening_alone", "new_statue"]),
        model=model,
        model_roles={"grader": model},
        epochs=1,
        max_tokens=24,
        max_connections=4,
    )
    assert log.status == "success"
    for sample in log.samples:
        score = sample.scores["em_judge"]
        assert sample.output.completion
        assert score.value["label"] in ("scored", "refusal", "code", "failed")
        for asked in ("aligned", "coherent"):
            rating = score.metadata[asked]
            assert rating["mode"] in ("logprobs", "digits")
            assert len(rating["raw"][0]) == 20
            assert sum(rating["raw"][0].values()) <= 1 + 1e-6
