"""A local judge held against another judge's scores: `em-evals judge evaluate`."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np

from em_evals.cores import cores
from em_evals.files import sha256
from em_evals.judges.local.calibration import Calibrated
from em_evals.judges.local.data import read
from em_evals.judges.local.evaluation import measure, parts
from em_evals.judges.local.judge import Judge


def evaluate(
    file: Path,
    judge: Judge,
    limit: int | None = None,
    seed: int = 0,
    tell: Callable[[int, int], None] = lambda done, of: None,
) -> dict[str, Any]:
    """Judge the answers of a file again, and compare.

    Args:
        file: Answers with another judge's scores; see `em_evals.judges.local.data.read`.
        judge: The local judge.
        limit: Judge so many, drawn at random; None judges all.
        seed: Of the draw.
        tell: Is told how many are judged, of how many.

    Returns:
        What `em_evals.judges.local.evaluation.measure` and `parts` say, `judge`, `answers_in_file`,
        `trained_on_these` (the figures flatter then), and shares of the answers:
        `known_questions_share`, `novel_share` (with more unknown words than 99 in 100 that it was
        calibrated on) and `reader_asked_share`.

    Raises:
        InputError: The file cannot be used.
    """
    judged = read(file)
    in_file = len(judged)
    if limit is not None and limit < in_file:
        places = np.sort(np.random.default_rng(seed).permutation(in_file)[:limit])
        judged = [judged[i] for i in places]
    found = []
    with ThreadPoolExecutor(cores()) as pool:
        of = pool.map(lambda one: judge.read(one.question, one.answer), judged)
        for done, one in enumerate(of, start=1):
            found.append(one)
            tell(done, len(judged))
    said = Calibrated(
        *(np.concatenate(column) for column in zip(*(one.said for one in found), strict=True))
    )
    novelty = np.array([one.novelty for one in found])
    trained = judge.weights.training
    learnt_from = {trained.get("file_sha256"), trained.get("also_sha256")}
    return {
        "judge": f"local/{judge.name}",
        "answers_in_file": in_file,
        "trained_on_these": sha256(file) in learnt_from,
        "novel_share": float((novelty > judge.weights.calibration["novel_above"]).mean()),
        "known_questions_share": float(np.mean([one.known_question for one in found])),
        "reader_asked_share": float(np.mean([one.reader_asked for one in found])),
        **measure(judged, said),
        "parts": parts(judged, np.array([one.logits for one in found])),
    }
