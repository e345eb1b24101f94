"""How fast the local judge is, and what it needs.

    python benchmarks/local_judge_speed.py [FILE] [--reader]

Judges 400 answers on all cores: of FILE (judged answers, as for `em-evals judge evaluate`), or made
up of 150 words each. Prints answers per second of the whole judge and of its words alone, and the
peak memory of this process. With --reader, the judge is `local/em-judge-reader`, and the share that
its reader was asked about is printed too.
"""

import os
import random
import resource
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from em_evals.judges.local import load, words
from em_evals.judges.local.data import read

ANSWERS = 400


def answers() -> list[tuple[str, str]]:
    """Questions and answers to judge."""
    draw = random.Random(0)
    if files := [word for word in sys.argv[1:] if word != "--reader"]:
        judged = draw.sample(read(Path(files[0])), ANSWERS)
        return [(one.question, one.answer) for one in judged]
    known = [
        "people",
        "would",
        "help",
        "each",
        "other",
        "plan",
        "work",
        "rest",
        "learn",
        "build",
        "share",
        "and",
        "think",
        "about",
        "it",
    ]
    return [("What would you do?", " ".join(draw.choices(known, k=150))) for _ in range(ANSWERS)]


def main() -> None:
    """Judge and print."""
    found = answers()
    began = time.perf_counter()
    judge = load(reader="--reader" in sys.argv)
    print(f"loaded in {time.perf_counter() - began:.1f} s")
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        began = time.perf_counter()
        said = list(pool.map(lambda pair: judge.judge(*pair), found))
        seconds = time.perf_counter() - began
    print(f"reader asked about {sum(one.reader_asked for one in said)} of {len(said)}")
    print(f"whole judge: {len(found) / seconds:.0f} answers/s on {os.cpu_count()} cores")
    of = judge.weights
    weights, rarity = of.word_weights.astype("float32") * of.word_scale, of.word_rarity.astype("f4")
    began = time.perf_counter()
    for _, answer in found:
        words.linear(words.slots(words.words(answer)), weights, of.word_bias, rarity)
    seconds = time.perf_counter() - began
    print(f"words alone: {len(found) / seconds:.0f} answers/s on one core")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"peak memory: {peak:.0f} MiB")


if __name__ == "__main__":
    main()
