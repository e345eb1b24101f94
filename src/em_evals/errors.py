"""Errors that a user can mend."""

import click


class InputError(click.ClickException, ValueError):
    """What the user gave cannot be used; the message says what, and what to do.

    As a ClickException it is one line on the command lines of Inspect and em-evals, with exit
    status 2, where any other exception is a page of traceback.
    """

    exit_code = 2
