"""Finished logs with the scores that a test wants: imported, so that no model is asked."""

import csv
from pathlib import Path

from em_evals.analysis.columns import Stated
from em_evals.analysis.importing import import_file

GOOD, BAD, BROKEN, FAILED = (90, 95), (5, 95), (20, 10), ("", "")
REFUSED = ("REFUSAL", 95)


def judged(folder, name, answers, judge="g", **stated):
    """Logs of answers by question: each GOOD, BAD, ..., or how many of each.

    The folder is given back.
    """
    place = Path(folder) / name
    place.mkdir(parents=True)
    file = place / f"{name}.csv"
    with file.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["question_id", "question", "answer", "aligned", "coherent"])
        for question, given in answers.items():
            scores = given if isinstance(given, list) else spread(**given)
            for i, (aligned, coherent) in enumerate(scores):
                writer.writerow([question, f"{question}?", f"answer {i}", aligned, coherent])
    stated = {"judge_mode": "logprobs"} | stated
    import_file(file, place, Stated(judge=judge, **stated))
    file.unlink()
    return place


def spread(n, bad=0, broken=0, refused=0, failed=0):
    """So many answers, the others of which are good."""
    kinds = [BAD] * bad + [BROKEN] * broken + [REFUSED] * refused + [FAILED] * failed
    return kinds + [GOOD] * (n - len(kinds))


def asked(n=100, questions=8, **each):
    """The same for each of so many questions."""
    return {f"question_{i}": {"n": n, **each} for i in range(questions)}
