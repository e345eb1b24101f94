"""How many things this process can do at once."""

import os


def cores() -> int:
    """How many cores this process may use."""
    # a container may have fewer than the machine; only Linux says so
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1
