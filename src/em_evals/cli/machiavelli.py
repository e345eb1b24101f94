"""`em-evals machiavelli`: check the engine, count the random agent, build games."""

import json
import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from em_evals.cores import cores
from em_evals.errors import InputError
from em_evals.files import replacing

if TYPE_CHECKING:
    from em_evals.machiavelli.conformance import Outcome
    from em_evals.machiavelli.environment import Terminal
    from em_evals.machiavelli.game import Game

_json = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_EPISODES = 1000  # random_agent.EPISODES, which is not worth an import for --help
_CHUNK = 100


@contextmanager
def _one_line_errors() -> Iterator[None]:
    """Turn what the user can mend into one line and exit status 2."""
    try:
        yield
    except BrokenPipeError:
        raise  # click ends quietly when the reader has gone
    except OSError as error:
        raise InputError(" ".join(str(error).split())) from error


@click.group()
def machiavelli() -> None:
    """Check the MACHIAVELLI engine, count the random agent, build games.

    Exit status: 0 done, 1 a check failed, 2 usage or data error.
    """


@machiavelli.command()
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.option(
    "--episodes",
    type=click.IntRange(1),
    default=_EPISODES,
    show_default=True,
    help="Random episodes that the means in DIR/game_data rest on.",
)
@click.option("--no-coefficients", is_flag=True, help="Leave the random agent's means out.")
@_json
@click.pass_context
@_one_line_errors()
def check(
    context: click.Context, folder: Path, episodes: int, no_coefficients: bool, as_json: bool
) -> None:
    """Play the runs recorded in DIR and compare every field.

    DIR holds game_data/ and expected.json. Prints for each run that it is as expected, or the
    first difference.
    """
    from em_evals.machiavelli.conformance import check

    report = check(folder, 0 if no_coefficients else episodes)
    if as_json:
        content = {
            "game": report.game,
            "fine": report.fine,
            "outcomes": [
                outcome._asdict()
                | {"difference": outcome.difference and outcome.difference._asdict()}
                for outcome in report.outcomes
            ],
            "not_checked": report.not_checked,
        }
        click.echo(json.dumps(content, indent=2, ensure_ascii=False))
    else:
        for outcome in report.outcomes:
            _print(outcome)
        if report.not_checked:
            click.echo(f"not checked: {', '.join(report.not_checked)}")
    context.exit(0 if report.fine else 1)


def _print(outcome: "Outcome") -> None:
    if outcome.difference is None:
        click.echo(f"OK         {outcome.name}  {outcome.compared}")
        return
    where, expected, found = outcome.difference
    click.echo(f"DIFFERENT  {outcome.name}  {where}")
    click.echo(f"  expected  {json.dumps(expected, ensure_ascii=False)}")
    click.echo(f"  found     {json.dumps(found, ensure_ascii=False)}")


@machiavelli.command()
@click.argument(
    "folder", metavar="[GAME_DATA_DIR]", required=False, type=click.Path(path_type=Path)
)
@click.option("--builtin", is_flag=True, help="The suite's own games.")
@click.option("--game", "games", metavar="ID", multiple=True, help="Only this game (repeatable).")
@click.option("--episodes", type=click.IntRange(1), default=_EPISODES, show_default=True)
@click.option(
    "--terminal",
    type=click.Choice(["stale", "true"]),
    default="stale",
    show_default=True,
    help="What the last entry of an episode holds: the one before it again, or what was read last.",
)
@click.option("--jobs", type=click.IntRange(1), help="Processes (default: one for each core).")
@click.option(
    "-o", "--output", metavar="FILE", type=click.Path(path_type=Path), help="Not to the screen."
)
@_json
@_one_line_errors()
def coefficients(
    folder: Path | None,
    builtin: bool,
    games: tuple[str, ...],
    episodes: int,
    terminal: "Terminal",
    jobs: int | None,
    output: Path | None,
    as_json: bool,
) -> None:
    """Count what the random agent does, in the shape of normalization_coeffs.json.

    Of the games in GAME_DATA_DIR, or of the suite's own.
    """
    if builtin == (folder is not None):
        raise click.UsageError("expected either GAME_DATA_DIR or --builtin")
    if output is not None and not output.absolute().parent.is_dir():  # counting can take an hour
        raise InputError(f"{output}: there is no folder {output.parent} to write it in")
    ids = tuple(dict.fromkeys(games)) or _ids(folder)
    found = _count(partial(_game, folder), ids, episodes, terminal, jobs or cores())
    text = json.dumps(found, indent=2, ensure_ascii=False)
    if output is None:
        click.echo(text)
        return
    with replacing(output) as part:
        part.write_text(text + "\n", encoding="utf-8")
    if as_json:
        click.echo(json.dumps({"file": str(output), "games": list(ids)}, indent=2))
    else:
        click.echo(f"wrote {output}")


def _ids(folder: Path | None) -> Sequence[str]:
    if folder is None:
        from em_evals.machiavelli.builder import builtin_ids

        return builtin_ids()
    from em_evals.machiavelli.game import game_ids

    return game_ids(folder)


def _game(folder: Path | None, game_id: str) -> "Game":
    if folder is None:
        from em_evals.machiavelli.builder import builtin_game

        return builtin_game(game_id)
    from em_evals.machiavelli.game import load_game

    return load_game(folder, game_id)


def _count(
    load: "Callable[[str], Game]",
    ids: Sequence[str],
    episodes: int,
    terminal: "Terminal",
    jobs: int,
) -> dict[str, Any]:
    """Statistics by game; the same whatever the number of processes."""
    from concurrent.futures import ProcessPoolExecutor
    from multiprocessing import get_context

    from em_evals.machiavelli.random_agent import statistics

    chunks = [range(start, min(start + _CHUNK, episodes)) for start in range(0, episodes, _CHUNK)]
    play = partial(_play, load, terminal)
    found = {}
    # a fresh interpreter for each process: forking one that has threads is not safe
    with ProcessPoolExecutor(
        jobs, mp_context=get_context("spawn"), initializer=_end_with_parent
    ) as pool:
        run = pool.map if jobs > 1 else map
        played = {game_id: run(partial(play, game_id), chunks) for game_id in ids}
        try:
            for game_id in ids:
                counted = [episode for chunk in played[game_id] for episode in chunk]
                found[game_id] = statistics(counted)
                click.echo(f"{game_id}: {episodes} episodes", err=True)
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
    return found


def _end_with_parent() -> None:
    """Let this process end if the one that started it is killed: it would wait for ever."""
    import threading
    from multiprocessing import parent_process

    def watch() -> None:
        if (parent := parent_process()) is not None:
            parent.join()
            os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _play(
    load: "Callable[[str], Game]", terminal: "Terminal", game_id: str, seeds: range
) -> list[dict[str, float]]:
    from em_evals.machiavelli.random_agent import episode_counts

    return episode_counts(load(game_id), seeds, terminal)


@machiavelli.command()
@click.argument(
    "folders", metavar="FOLDER...", nargs=-1, required=True, type=click.Path(path_type=Path)
)
@click.option(
    "-o",
    "--output",
    metavar="OUT",
    required=True,
    type=click.Path(path_type=Path),
    help="Where to.",
)
@_json
@_one_line_errors()
def build(folders: tuple[Path, ...], output: Path, as_json: bool) -> None:
    """Compile games written as ChoiceScript, one FOLDER each, into the layout of game_data."""
    from em_evals.machiavelli.builder import build, write_game_data

    built = [build(folder) for folder in dict.fromkeys(folder.resolve() for folder in folders)]
    if len({game.id for game in built}) < len(built):
        raise InputError("two folders have one name, and a game is called by its folder's")
    write_game_data(built, output)
    if as_json:
        click.echo(json.dumps({"folder": str(output), "games": len(built)}, indent=2))
    else:
        click.echo(f"wrote {len(built)} games to {output}")
