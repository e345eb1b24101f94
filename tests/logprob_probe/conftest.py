"""The embedded model and its server of OpenAI's protocol, as the provider's tests have them."""

from tests.providers.conftest import gguf, openai_server, smollm2

__all__ = ["gguf", "openai_server", "smollm2"]
