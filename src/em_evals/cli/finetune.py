"""`em-evals finetune`: training files, jobs, and the checkpoints that come of them."""

import click

from em_evals.cli.finetune_build import build, check
from em_evals.cli.finetune_jobs import adopt, cancel, list_, submit, watch


@click.group()
def finetune() -> None:
    """Build training sets, submit fine-tunes, and probe what comes of them."""


finetune.add_command(build)
finetune.add_command(check)
for _job_command in (submit, list_, watch, cancel, adopt):
    finetune.add_command(_job_command)
