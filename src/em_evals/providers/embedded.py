"""The embedded model: a real language model in this process, no server and no key.

`embedded/smollm2-135m-instruct`, or `embedded/PATH.gguf` for any other GGUF file; either with
`:ADAPTER.gguf` behind it for a LoRA adapter of it. Arguments are those of
`em_evals.providers._embedded.EmbeddedAPI`; for instance `-M n_ctx=4096`.
"""

from inspect_ai.model import ModelAPI, modelapi


@modelapi(name="embedded")
def embedded() -> type[ModelAPI]:
    """The provider behind `embedded/...`; its engine is imported when the first model is made."""
    from em_evals.providers._embedded import EmbeddedAPI

    return EmbeddedAPI
