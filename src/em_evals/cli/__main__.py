"""Lets `python -m em_evals.cli` stand for the `em-evals` command."""

from em_evals.cli import main

main(prog_name="em-evals")
