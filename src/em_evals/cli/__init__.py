"""The `em-evals` command: each subcommand parses, calls one function and prints.

Exit statuses: 0 done, 1 the check failed, 2 usage or data error; a command that has more says so.
"""

import click

from em_evals.cli.checkpoints import checkpoints
from em_evals.cli.demo import demo
from em_evals.cli.evaluate import evaluate, evaluate_set
from em_evals.cli.export import export
from em_evals.cli.finetune import finetune
from em_evals.cli.gate import baseline, gate
from em_evals.cli.import_ import import_
from em_evals.cli.judge import judge
from em_evals.cli.machiavelli import machiavelli
from em_evals.cli.rejudge import rejudge
from em_evals.cli.report import report
from em_evals.cli.reproduce import reproduce
from em_evals.cli.run import run
from em_evals.cli.sources import sources
from em_evals.cli.summary import summary

COMMANDS = (
    baseline,
    checkpoints,
    demo,
    evaluate,
    evaluate_set,
    export,
    finetune,
    gate,
    import_,
    judge,
    machiavelli,
    rejudge,
    report,
    reproduce,
    run,
    sources,
    summary,
)


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="em-evals")
def main() -> None:
    """Evaluations of emergent misalignment in fine-tuned language models."""


for command in COMMANDS:
    main.add_command(command)
