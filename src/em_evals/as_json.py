"""Numbers as JSON has them."""

import math
from typing import Any


def without_nan(value: Any) -> Any:
    """The same with None for what is not a number, which JSON has no word for; tuples are lists."""
    if isinstance(value, dict):
        return {key: without_nan(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inside) for inside in value]
    return None if isinstance(value, float) and math.isnan(value) else value
