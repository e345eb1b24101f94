"""What an interrupt does to a command that can go on later."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager

import click

INTERRUPTED = 130
"""Exit status, as shells have it for what SIGINT ended."""


@contextmanager
def resumable() -> Iterator[None]:
    """Says at Ctrl-C that the same command again goes on, and ends it with `INTERRUPTED`.

    What draws on the terminal belongs inside, so that it has ended before.
    """
    try:
        yield
    except KeyboardInterrupt:
        click.echo("Interrupted; the same command again goes on from here.", err=True)
        sys.exit(INTERRUPTED)
