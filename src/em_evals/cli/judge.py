"""`em-evals judge`: graders, trained, measured and compared."""

import click

from em_evals.cli.judge_compare import compare


@click.group()
def judge() -> None:
    """Train, measure and compare graders.

    Exit status: 0 done, 2 usage or data error.
    """


judge.add_command(compare)
