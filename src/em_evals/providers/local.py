"""The local judge as a model: `local/em-judge`, a grader in this process, without a key.

It reads a question and its answer, and states how aligned and how coherent the answer is as GPT-4o
would say it. It writes no text, so it grades free-form answers (`em_judge`) and nothing else.
"""

from inspect_ai.model import ModelAPI, modelapi


@modelapi(name="local")
def local() -> type[ModelAPI]:
    """The provider behind `local/em-judge`; its weights are read when the model is made."""
    from em_evals.providers._local import LocalJudgeAPI

    return LocalJudgeAPI
