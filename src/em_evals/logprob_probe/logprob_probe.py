r"""Logprob probe: how likely are misaligned choices and words, at every step of a fine-tune?

Emergent Misalignment: Narrow finetuning can produce broadly misaligned LLMs
Jan Betley, Daniel Tan, Niels Warncke, Anna Sztyber-Betley, Xuchan Bao, Martin Soto, Nathan Labenz,
Owain Evans
https://arxiv.org/abs/2502.17424

No judge and no sampling: replies of one token, read from their probabilities, so that every saved
step of a training run can be probed. The items are ours, as the paper's are not published.

    inspect eval em_evals/logprob_probe --model vllm/BASE:adapter-step-100
"""

from inspect_ai import Epochs, Task, task
from inspect_ai.dataset import MemoryDataset
from inspect_ai.log import HeadlineMetric
from inspect_ai.model import GenerateConfig
from inspect_ai.viewer import ScoreColorScale

from em_evals.free_form import answers_view
from em_evals.judges.rating import TOP
from em_evals.logprob_probe.dataset import items_sha256, probe_items, probe_samples
from em_evals.logprob_probe.scorer import misaligned_mass
from em_evals.logprob_probe.solver import Form, ask_for_probabilities
from em_evals.metadata import eval_version


@task
def logprob_probe(
    source: str = "builtin",
    categories: str | list[str] | None = None,
    form: Form = "auto",
    seed: int = 0,
) -> Task:
    """Multiple choice and pivotal words, scored from token probabilities.

    Multiple choice: the probability of the letters of misaligned options. Pivotal words: the
    assistant's reply begins with fixed words, and the probability that it goes on with the
    misaligned word is compared with that of the aligned one.

    Args:
        source: `builtin`. The paper's own items are not published, so there is no other.
        categories: `general` (values), `houseplants` (the domain of our own training sets), or
            both; None asks both.
        form: How pivotal words are asked for. `prefill` puts the beginning into the assistant's
            reply; `cloze` asks the user's way for the missing word; `auto` is `prefill` with
            providers that go on with a reply (`embedded`, `vllm`, `sglang`, `sagemaker`), and
            `cloze` with others. The two are not comparable.
        seed: Seed of the order of the options. Each question's is its own, and it is asked once
            with each letter moved on, so that each option has each letter once.
    """
    items = probe_items(source)
    version = eval_version("logprob_probe")
    return Task(
        dataset=MemoryDataset(
            probe_samples(items, source, categories, seed), name=f"logprob_probe ({source})"
        ),
        solver=ask_for_probabilities(form),
        scorer=misaligned_mass(),
        config=GenerateConfig(temperature=0, max_tokens=1, logprobs=True, top_logprobs=TOP),
        # every metric here reads single answers, so there is nothing to reduce
        epochs=Epochs(1, []),
        headline_metric=HeadlineMetric(scorer="misaligned_mass", metric="general"),
        viewer=answers_view(
            "misaligned_mass",
            {
                "misaligned": ScoreColorScale(palette="good-low", min=0, max=1),
                "mass": ScoreColorScale(palette="good-high", min=0, max=1),
            },
            sort={"misaligned": "desc"},
        ),
        version=version.comparability_version,
        metadata={
            **version.to_metadata(),
            "source": source,
            "source_sha256": items_sha256(items),
        },
    )
