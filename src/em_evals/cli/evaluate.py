"""`em-evals eval` and `em-evals eval-set`: Inspect's own commands, with less CPU per answer."""

import gc
import runpy
import sys

import click

LEAN = ("--no-log-realtime",)
"""The log is not also kept in a database for watching and for recovery."""


def collect_garbage_rarely() -> None:
    """Tell the collector that what lives now stays: a run makes much and little of it in cycles.

    For a process of our own, as it imports what nearly every run does and calls it permanent.
    """
    import inspect_ai.model  # noqa: F401
    import openai  # noqa: F401

    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 100)


def _command(name: str) -> click.Command:
    @click.command(
        name,
        context_settings={"ignore_unknown_options": True, "help_option_names": []},
        short_help=f"Like `inspect {name}`, with less CPU per answer.",
        help=f"`inspect {name}` for many short answers: takes the same arguments and leaves the "
        "same log. It keeps no second, realtime log, so `inspect view` shows samples only once "
        "they are written, and a run that is killed asks for the last few of them again; "
        "--log-realtime keeps it.",
    )
    @click.option("--log-realtime", is_flag=True)
    @click.argument("args", nargs=-1, type=click.UNPROCESSED)
    def command(log_realtime: bool, args: tuple[str, ...]) -> None:
        collect_garbage_rarely()
        sys.argv = ["inspect", name, *(() if log_realtime else LEAN), *args]
        runpy.run_module("inspect_ai", run_name="__main__")

    return command


evaluate, evaluate_set = _command("eval"), _command("eval-set")
