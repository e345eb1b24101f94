"""`em-evals finetune`: training files, jobs, and the checkpoints that come of them."""

import click


@click.group()
def finetune() -> None:
    """Build training sets, submit fine-tunes, and probe what comes of them."""
