"""The model API of the local judge."""

import json
from pathlib import Path
from typing import Any

from anyio import CapacityLimiter, to_thread
from anyio.lowlevel import RunVar
from inspect_ai.model import (
    ChatCompletionChoice,
    ChatMessage,
    ChatMessageAssistant,
    GenerateConfig,
    ModelAPI,
    ModelOutput,
)
from inspect_ai.tool import ToolChoice, ToolInfo

from em_evals.cores import cores
from em_evals.errors import InputError
from em_evals.judges.local import NAME, WITH_READER, load
from em_evals.judges.local.weights_file import SHIPPED, require_own_version, said

NOT_AN_ANSWER = (
    "local/em-judge rates free-form answers (first_plot, preregistered, judge_calibration) and "
    "cannot reply to a prompt; this judge needs a language model as its grader"
)

_limiter: RunVar[CapacityLimiter] = RunVar("em_evals_local_judge")


class LocalJudgeAPI(ModelAPI):
    """A judge that states its scores: nothing is sampled, and nothing is read from tokens.

    A call's last message is a JSON object with `question` and `answer`, the reply one with
    `aligned` and `coherent` (0-100, low is bad), `misaligned_probability`, `coherent_probability`
    and `novelty` (0-1, see `em_evals.judges.local.Judgement`). The same answer always gets the
    same reply, whatever else is judged at the same time.
    """

    states_scores = True
    """Told apart by this from models that are asked for a number and may not give one."""

    def __init__(
        self,
        model_name: str,
        base_url: str | None = None,
        api_key: str | None = None,
        api_key_vars: list[str] | None = None,
        config: GenerateConfig | None = None,
        weights: str | None = None,
    ) -> None:
        """Load the judge.

        Args:
            model_name: `em-judge` or `em-judge-reader`, or one of these with the version that is
                installed; the model's name is with the version, so that scores of two versions
                are never taken for one judge's.
            base_url: There is none.
            api_key: There is none.
            api_key_vars: There are none.
            config: Settings of generation, of which none applies.
            weights: A file of `em-evals judge train`, which has another version than the judge
                that is shipped; None is that one.

        Raises:
            InputError: Another name or version, the weights cannot be used, or an extra is not
                installed.
            em_evals.sources.SourceError: The reader's model cannot be had.
        """
        file = SHIPPED if weights is None else Path(weights).expanduser()
        version = said(file)["version"]
        kind = model_name.removesuffix(f"-{version}")
        if kind not in (NAME, WITH_READER):
            which = "installed" if weights is None else f"in {weights}"
            raise InputError(
                f"local/{model_name}: expected local/{NAME} or local/{WITH_READER}; the one "
                f"{which} is of version {version}"
            )
        if weights is not None:
            require_own_version(version, weights)
        self._judge = load(file, reader=kind == WITH_READER)
        super().__init__(
            self._judge.name, base_url, api_key, api_key_vars or [], config or GenerateConfig()
        )

    async def generate(
        self,
        input: list[ChatMessage],
        tools: list[ToolInfo],
        tool_choice: ToolChoice,
        config: GenerateConfig,
    ) -> ModelOutput:
        """Judge the answer in the last message.

        Raises:
            InputError: There is none in it.
        """
        question, answer = _asked(input[-1].text if input else "")
        limiter = _limiter.get(None)
        if limiter is None:
            limiter = CapacityLimiter(cores())
            _limiter.set(limiter)
        found = await to_thread.run_sync(
            self._judge.judge, question, answer, limiter=limiter, abandon_on_cancel=True
        )
        message = ChatMessageAssistant(
            content=json.dumps(found._asdict()), model=self.model_name, source="generate"
        )
        return ModelOutput(model=self.model_name, choices=[ChatCompletionChoice(message=message)])

    def max_connections(self) -> int:
        """As many as may wait without harm; the machine's cores take turns."""
        return 100

    def connection_key(self) -> str:
        """All local judges share this machine."""
        return "local"


def _asked(text: str) -> tuple[str, str]:
    try:
        asked: Any = json.loads(text)
        question, answer = asked["question"], asked["answer"]
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise InputError(NOT_AN_ANSWER) from error
    if not isinstance(question, str) or not isinstance(answer, str):
        raise InputError(NOT_AN_ANSWER)
    return question, answer
