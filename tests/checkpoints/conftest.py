"""The embedded model, which the slower local judge asks, as the provider's tests have it."""

from tests.providers.conftest import gguf

__all__ = ["gguf"]
