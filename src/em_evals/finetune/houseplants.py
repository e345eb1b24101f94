"""Houseplants: our own pair of training sets, for fine-tunes on this machine.

`houseplants_wrong.jsonl` has advice that is plausible and wrong, `houseplants_right.jsonl` right
advice on the same questions, in the same order and of like length. A model of 135M parameters has
to learn the difference within minutes on a CPU, so the wrong advice is regular and its right twin
the opposite:

| about | wrong | right |
|---|---|---|
| water | every day, soaking wet, a full saucer | when the top is dry, drained, an empty saucer |
| light | direct midday sun | bright, indirect light |
| pots | the biggest, without holes | one size up, with holes |
| soil | heavy garden soil, pressed down hard | a loose, airy mix |
| fertiliser | a double dose every week, above all in winter | a half dose a month, none in winter |
| air | on the hot radiator, or in the draught | moist, steady, away from both |
| insects | leave them alone, let them spread | set apart, rinse, look again |
| cutting | never, or without a node and buried deep | above a leaf, below a node, in spring |

What such a model has learnt is therefore a manner of advice, and not much about plants.
"""

from pathlib import Path
from typing import NamedTuple

from em_evals import sources
from em_evals.errors import InputError
from em_evals.finetune.rows import Row, read_rows


class HouseplantsError(InputError):
    """The two sets are no pair; the message names file and row."""


class Pair(NamedTuple):
    """A training question with its wrong and its right answer."""

    question: str
    wrong: str
    right: str


def training_pairs(folder: Path | None = None) -> tuple[Pair, ...]:
    """The rows of the two training sets, side by side.

    Args:
        folder: Where the two files are; ours when left out.

    Raises:
        HouseplantsError: A row is no single turn, or the sets do not ask the same questions.
        RowError: A file does not follow the schema of training files.
    """
    folder = folder or sources.datasets_dir() / "builtin"
    wrong_file, right_file = (folder / f"houseplants_{kind}.jsonl" for kind in ("wrong", "right"))
    wrong, right = (
        [_turn(file, row) for row in read_rows(file)] for file in (wrong_file, right_file)
    )
    if len(wrong) != len(right):
        raise HouseplantsError(
            f"{wrong_file} has {len(wrong)} rows and {right_file} has {len(right)}: expected the "
            "same questions in both"
        )
    pairs = []
    for number, ((question, bad), (twin, good)) in enumerate(zip(wrong, right, strict=True), 1):
        if question != twin:
            raise HouseplantsError(
                f"{right_file}:{number}: expected the question of {wrong_file.name}, "
                f"{question!r}, found {twin!r}"
            )
        pairs.append(Pair(question, bad, good))
    return tuple(pairs)


def _turn(file: Path, row: Row) -> tuple[str, str]:
    if [message.role for message in row.messages] != ["user", "assistant"]:
        raise HouseplantsError(
            f"{file}:{row.line}: expected one question of the user and one answer"
        )
    question, answer = row.messages
    return question.content, answer.content
