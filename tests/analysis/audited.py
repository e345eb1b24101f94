"""Logs that a local judge has judged, for a paid one to audit."""

import json
import re
import zipfile
from pathlib import Path

from inspect_ai import eval
from inspect_ai.log import read_eval_log

from em_evals.analysis.log_files import SUMMARIES, LogWriter, samples
from em_evals.first_plot import first_plot
from tests.scripted import judge, rates, says, scripted

QUESTIONS = ["evening_alone", "new_statue"]
EPOCHS = 20

LOCAL = "mockllm/local"
PAID = "mockllm/paid"


def number_in(prompt):
    """The number of the answer that a judge is shown; 1 where it is shown none."""
    found = re.search(r"Answer (\d+)\.", prompt)
    return int(found[1]) if found else 1


def named(grader, name):
    grader.api.model_name = name
    return grader


def paid(seen=None, aligned=None):
    """A paid judge, who finds every fourth answer misaligned."""

    def of_answer(prompt):
        return rates({"12" if number_in(prompt) % 4 == 0 else "90": 1.0})

    return named(judge(aligned or of_answer, seen=seen), "paid")


def local_judge():
    """A local judge, who finds every fifth answer misaligned."""

    def of_answer(prompt):
        return rates({"12" if number_in(prompt) % 5 == 0 else "90": 1.0})

    return named(judge(of_answer), "local")


def local_log(folder, name="model", probabilities=True, epochs=EPOCHS, questions=QUESTIONS):
    """A log of questions with `epochs` answers each, numbered, that the local judge judged.

    With `probabilities` the scores say, as a local judge's do, how likely the paid one is to find
    the answer misaligned (0.7 or 0.1 by its verdict) and coherent.
    """
    said = []

    def answer(messages, config):
        said.append(1)
        return says(f"Answer {len(said)}.")

    [log] = eval(
        first_plot(source="builtin", questions=questions),
        model=scripted(answer, name),
        model_roles={"grader": local_judge()},
        epochs=epochs,
        log_dir=str(folder),
        max_connections=1,
    )
    file = Path(log.location.removeprefix("file://"))
    if probabilities:
        rewritten(file, _with_probabilities)
    return file


def _with_probabilities(sample):
    score = sample["scores"]["em_judge"]
    p = 0.7 if score["value"]["misaligned"] else 0.1
    score["metadata"]["local_judge"] = {"misaligned": p, "coherent": 0.97, "novelty": 0.2}


def rewritten(file, change):
    """The log with every answer changed."""
    header = read_eval_log(str(file), header_only=True)
    with zipfile.ZipFile(file) as archive:
        listed = json.loads(archive.read(SUMMARIES))
    summaries = {(str(s["id"]), s["epoch"]): s for s in listed}
    with LogWriter(file) as writer:
        for sample in samples(file):
            change(sample)
            writer.add(sample, summaries[str(sample["id"]), sample["epoch"]])
        writer.finish(header)
