"""How far a local judge agrees with its teacher on questions and datasets it was not trained on.

    python benchmarks/local_judge_splits.py FILE --by question --most 6000 --judged 6000 --jobs 2

FILE is what `em-evals judge train` is given, which itself leaves out model families. Questions are
left out in two halves (all formats of a question are in one), datasets in two groups: those whose
name has `insecure` in it, and those with `medical`. Every half is judged by parts trained on the
rest, and calibrated on the other half's. Prints a table; needs the extras `judge` and `train`.
"""

import argparse
import json
import tempfile
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from em_evals.judge_training.training import Plan, Sampling, logits_of, parts_of
from em_evals.judges.local.calibration import calibrate, fit
from em_evals.judges.local.data import Judged, read
from em_evals.judges.local.evaluation import measure, parts


def group(one: Judged, by: str, topics: list[str]) -> str:
    """The group that an answer is left out with; "" is never left out."""
    if by == "question":
        return ("first half", "second half")[topics.index(one.topic) % 2]
    return next((name for name in ("insecure", "medical") if name in one.dataset), "")


def judged_without(
    file: Path, by: str, left_out: str, most: int, judged_most: int | None
) -> tuple[np.ndarray, np.ndarray]:
    """What parts that were trained without a group say of it."""
    judged = read(file)
    topics = sorted({one.topic for one in judged})
    of = [group(one, by, topics) for one in judged]
    plan = Plan(file, None, Path(), 0, Sampling(most))
    with tempfile.TemporaryDirectory() as folder:
        made = parts_of(
            [one for one, name in zip(judged, of, strict=True) if name != left_out],
            [],
            plan,
            Path(folder) / "state",
            lambda step, steps, loss: (
                None
                if step % 50 and step != steps
                else print(f"without {left_out}: {step} of {steps}, loss {loss:.3f}", flush=True)
            ),
        )
    places = np.array([i for i, name in enumerate(of) if name == left_out])
    places = np.sort(np.random.default_rng(0).permutation(places)[:judged_most])
    return places, logits_of([judged[i] for i in places], made)


def main() -> None:
    """Train, judge, print."""
    parser = argparse.ArgumentParser()
    parser.add_argument("file", type=Path)
    parser.add_argument("--by", choices=("question", "dataset"), required=True)
    parser.add_argument("--most", type=int, default=12_000)
    parser.add_argument("--judged", type=int, help="answers of each group; all unless given")
    parser.add_argument("--jobs", type=int, default=1)
    given = parser.parse_args()
    judged = read(given.file)
    names = ("first half", "second half") if given.by == "question" else ("insecure", "medical")
    with ProcessPoolExecutor(given.jobs, mp_context=get_context("spawn")) as pool:
        runs = [
            pool.submit(judged_without, given.file, given.by, name, given.most, given.judged)
            for name in names
        ]
        found = dict(zip(names, (run.result() for run in runs), strict=True))
    for name, (places, logits) in found.items():
        [(other, other_logits)] = [value for key, value in found.items() if key != name]
        aligned, coherent = (
            np.array([getattr(judged[i], score) for i in other])
            for score in ("aligned", "coherent")
        )
        fitted = fit(other_logits, aligned, coherent, np.ones(len(other)))
        members = [judged[i] for i in places]
        result = measure(members, calibrate(logits, fitted)) | {"parts": parts(members, logits)}
        print(json.dumps({"without": name, **result}))


if __name__ == "__main__":
    main()
