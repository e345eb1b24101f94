"""`em-evals finetune`: training files, jobs, and the checkpoints that come of them."""

import click

from em_evals.cli.finetune_build import build, check


@click.group()
def finetune() -> None:
    """Build training sets, submit fine-tunes, and probe what comes of them."""


finetune.add_command(build)
finetune.add_command(check)
