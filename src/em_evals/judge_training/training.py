"""The local judge, trained: `em-evals judge train`.

The parts are trained once for each model family, without that family's answers, once for each half
of the questions, without those, and once on all. What the first say of families and questions that
they have not seen is what the judge is calibrated on and what its stated agreement is measured on;
the last one is what is written.

Needs the extras `judge` and `train`. What is finished is kept in a folder beside the weights, so
that the same command goes on after an interruption.
"""

import hashlib
import json
import multiprocessing
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field
from pathlib import Path
from queue import Empty
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from em_evals.definitions import ALIGNED_BELOW, COHERENT_ABOVE
from em_evals.errors import InputError
from em_evals.judges.local import words
from em_evals.judges.local.calibration import Calibrated, calibrate, fit, quantile, question_key
from em_evals.judges.local.data import Judged, groups, read, sha256
from em_evals.judges.local.evaluation import measure, parts
from em_evals.judges.local.weights_file import Weights, packed, unpacked, write

Floats = npt.NDArray[np.float64]

NOVEL = 0.99
"""Of the answers of unseen families, the share that is not called novel."""

EVERYTHING = "all"
"""The part that leaves no family out."""

HALVES = ("half of the questions", "other half of the questions")
"""The parts that leave questions out."""

MOST_JUDGED = 8000
"""Answers that are judged of each half of the questions: calibration needs no more."""

NEEDS = "training needs torch and more: pip install 'em-evals[judge,train]'"


@dataclass(frozen=True)
class Sampling:
    """Which answers the encoder is trained on: of the clear ones, fewer are enough.

    Those left in count as many more, so that nothing is learnt about how common each kind is. The
    words are trained on all.
    """

    most: int = 12_000
    """Answers, at most."""
    unclear_share: float = 0.6
    """Of these, the share with an alignment below 60 or a coherence below 75, where there are so
    many."""


@dataclass(frozen=True)
class Settings:
    """How the encoder is trained."""

    epochs: float = 1.0
    learning_rate: float = 2e-4
    """Of the encoder, at its highest; the outputs learn five times as fast."""
    batch_tokens: int = 4480
    warmup: float = 0.06
    """Share of the steps in which the learning rate rises; from there it falls to nothing."""
    save_steps: int = 50
    threads: int = 1


@dataclass(frozen=True)
class Plan:
    """One training run."""

    file: Path
    folder: Path
    seed: int
    sampling: Sampling = field(default_factory=Sampling)
    settings: Settings = field(default_factory=Settings)


class Told(NamedTuple):
    """How far a part is."""

    part: str
    step: int
    steps: int
    loss: float


def train(
    file: Path,
    out: Path,
    version: str,
    *,
    seed: int = 0,
    jobs: int = 1,
    sampling: Sampling | None = None,
    settings: Settings | None = None,
    tell: Callable[[Told], None] = lambda told: None,
) -> dict[str, Any]:
    """Train a judge on judged answers, and write its weights.

    Args:
        file: The answers; see `em_evals.judges.local.data.read`.
        out: The weights' file.
        version: What the judge is called by: `local/em-judge-VERSION`.
        seed: Of the sampling and the order.
        jobs: Parts that are trained at the same time, each in a process.
        sampling: Which answers the encoder is trained on.
        settings: How the encoder is trained.
        tell: Is told how far it is.

    Returns:
        Its measured agreement on `left_out_families` and `left_out_questions`; see
        `em_evals.judges.local.evaluation.measure` and `parts`.

    Raises:
        InputError: The file cannot be used, has one model family, one question, or one verdict
            without a family; or it is not the one that an unfinished run in the same place was
            begun with; or an extra is not installed.
    """
    try:
        from em_evals.judge_training.encoder import precision
    except ImportError as error:
        raise InputError(NEEDS) from error
    judged = read(file)
    families = list(groups(judged, lambda one: one.family))
    if len(families) < 2:
        raise InputError(
            f"{file}: answers of one model family ({', '.join(families) or 'unnamed'}). A judge is "
            "calibrated on families that it was not trained on: two or more are needed, told "
            "apart by the column model"
        )
    for family in families:
        _require_both(file, family, [one for one in judged if one.family != family])
    halves = halves_of(judged)
    if len(set(halves.values())) < 2:
        raise InputError(f"{file}: answers to one question; two or more are needed")
    folder = out.with_name(f"{out.name}.training")
    plan = Plan(file.absolute(), folder, seed, sampling or Sampling(), settings or Settings())
    _same_run(plan, file)
    _train_parts(plan, [*families, *HALVES, EVERYTHING], jobs, tell)
    known, new = (
        _calibrated(judged, folder, of, names)
        for of, names in (
            (lambda one: one.family, families),
            (lambda one: halves[one.topic], HALVES),
        )
    )
    fitted = {
        "known": known.fitted,
        "new": new.fitted,
        "questions": sorted({question_key(one.question) for one in judged}),
        "novel_above": _novel_above(judged),
    }
    agreement = {"left_out_families": known.agreement, "left_out_questions": new.agreement}
    with np.load(folder / f"{EVERYTHING}.npz", allow_pickle=False) as kept:
        weights = Weights(
            version=version,
            patches=unpacked(kept),
            head=kept["head"],
            word_weights=kept["word_weights"],
            word_scale=kept["word_scale"],
            word_bias=kept["word_bias"],
            word_rarity=kept["word_rarity"],
            seen=kept["seen"],
            calibration=fitted,
            training={
                "file_sha256": sha256(file),
                "answers": len(judged),
                "families": families,
                "seed": seed,
                "sampling": asdict(plan.sampling),
                "settings": {**asdict(plan.settings), "precision": precision()},
                **agreement,
            },
        )
    write(weights, out)
    shutil.rmtree(folder)
    return agreement


class Measured(NamedTuple):
    """A calibration, and what it is worth."""

    fitted: dict[str, Any]
    agreement: dict[str, Any]


def calibrated(judged: Sequence[Judged], logits: Floats, group: Sequence[str]) -> Measured:
    """Calibrate on what parts say of groups that they were not trained on, and measure that.

    What is measured of a group is calibrated on the others alone.

    Args:
        judged: The answers.
        logits: What parts that were trained without its group say of each.
        group: The answers' groups; each counts the same.
    """
    scores = [(one.aligned, one.coherent) for one in judged]
    aligned, coherent = np.array(scores, dtype=np.float64).T
    names, of = np.unique(group, return_inverse=True)
    counts = (1 / np.bincount(of))[of]
    said = Calibrated(*np.zeros((len(Calibrated._fields), len(judged))))
    for own in range(len(names)):
        here, others = of == own, of != own
        fitted = fit(logits[others], aligned[others], coherent[others], counts[others])
        for into, values in zip(said, calibrate(logits[here], fitted), strict=True):
            into[here] = values
    return Measured(
        fit(logits, aligned, coherent, counts),
        {**measure(judged, said), "parts": parts(judged, logits)},
    )


def _calibrated(
    judged: Sequence[Judged], folder: Path, of: Callable[[Judged], str], names: Sequence[str]
) -> Measured:
    """`calibrated`, on what the parts without each of these groups have left in the folder."""
    kept = []
    for name in names:
        with np.load(folder / f"{_slug(name)}.npz", allow_pickle=False) as arrays:
            kept.append((arrays["places"], arrays["logits"]))
    members = [judged[i] for i in np.concatenate([places for places, _ in kept])]
    logits = np.concatenate([logits for _, logits in kept])
    return calibrated(members, logits, [of(one) for one in members])


def _require_both(file: Path, family: str, judged: Sequence[Judged]) -> None:
    """Refuse answers from which one of the verdicts cannot be learnt."""
    for word, verdicts in (
        ("misaligned", {one.aligned < ALIGNED_BELOW for one in judged}),
        ("coherent", {one.coherent > COHERENT_ABOVE for one in judged}),
    ):
        if len(verdicts) < 2:
            which = f"all answers are {word}" if True in verdicts else f"no answer is {word}"
            raise InputError(f"{file}: without {family}, {which}: there is nothing to learn")


def _novel_above(judged: Sequence[Judged]) -> float:
    """How novel the answers of unseen families are, but for a few; each family counts the same."""
    from em_evals.judge_training import linear

    novelty, counts = np.zeros(len(judged)), np.zeros(len(judged))
    for family, places in groups(judged, lambda one: one.family).items():
        seen = linear.seen([one for one in judged if one.family != family])
        novelty[places] = [words.novelty(words.words(judged[i].answer), seen) for i in places]
        counts[places] = 1 / len(places)
    return quantile(novelty, counts, NOVEL)


# -- parts


def _train_parts(plan: Plan, parts: Sequence[str], jobs: int, tell: Callable[[Told], None]) -> None:
    waiting = [part for part in parts if not (plan.folder / f"{_slug(part)}.npz").exists()]
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(jobs, mp_context=context) as pool:
        told = manager.Queue()
        running = {pool.submit(_train_part, plan, part, told) for part in waiting}
        try:
            while running:
                done, running = wait(running, timeout=0.5, return_when=FIRST_COMPLETED)
                while True:
                    try:
                        tell(Told(*told.get_nowait()))
                    except Empty:
                        break
                for one in done:
                    one.result()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise


def _train_part(plan: Plan, part: str, told: Any) -> None:
    """Train encoder and words without a family, and keep what they say of it."""
    from em_evals.judge_training import encoder, linear

    judged = read(plan.file)
    halves = halves_of(judged)
    places = [i for i, one in enumerate(judged) if part in {one.family, halves[one.topic]}]
    learnt = [one for one in judged if part not in {one.family, halves[one.topic]}]
    if len(places) > MOST_JUDGED and part in HALVES:
        draw = np.random.default_rng(plan.seed).permutation(places)[:MOST_JUDGED]
        places = np.sort(draw).tolist()
    state = plan.folder / f"{_slug(part)}.safetensors"
    made = parts_of(learnt, plan, state, _say(part, told))
    kept: dict[str, Any] = {}
    if places:
        kept["places"] = np.array(places)
        kept["logits"] = logits_of([judged[i] for i in places], made)
    else:
        kept |= {
            **packed(encoder.patches(made.network)),
            "head": encoder.head(made.network),
            "word_weights": made.linear.weights,
            "word_scale": made.linear.scale,
            "word_bias": made.linear.bias,
            "word_rarity": made.linear.rarity,
            "seen": linear.seen(learnt),
        }
    part_file = plan.folder / f"{_slug(part)}.part.npz"
    np.savez(part_file, **kept)
    part_file.replace(plan.folder / f"{_slug(part)}.npz")
    state.unlink(missing_ok=True)


class Parts(NamedTuple):
    """The two parts of a judge, as they were trained."""

    network: Any
    linear: Any


def parts_of(
    learnt: Sequence[Judged], plan: Plan, state: Path, tell: Callable[[int, int, float], None]
) -> Parts:
    """Train encoder and words on answers; see `encoder.train` for `state` and `tell`."""
    from em_evals.judge_training import encoder, linear

    targets = encoder.targets(learnt, ALIGNED_BELOW, COHERENT_ABOVE)
    chosen, weights = sampled(learnt, plan.sampling, plan.seed)
    network = encoder.train(
        encoder.reads([learnt[i] for i in chosen]),
        targets[chosen],
        weights,
        plan.settings,
        plan.seed,
        state,
        tell,
    )
    found = [words.slots(words.words(one.answer)) for one in learnt]
    return Parts(network, linear.train(found, targets))


def logits_of(judged: Sequence[Judged], made: Parts) -> Floats:
    """What both parts say of answers: a row for each, the encoder's four columns first."""
    from em_evals.judge_training import encoder, linear

    found = [words.slots(words.words(one.answer)) for one in judged]
    return np.column_stack(
        [
            encoder.predict(made.network, encoder.reads(judged)),
            linear.predict(found, made.linear),
        ]
    )


def _say(part: str, told: Any) -> Callable[[int, int, float], None]:
    parent = multiprocessing.parent_process()

    def say(step: int, steps: int, loss: float) -> None:
        if parent is not None and not parent.is_alive():
            raise SystemExit  # the same command may be under way again
        told.put((part, step, steps, loss))

    return say


def halves_of(judged: Sequence[Judged]) -> dict[str, str]:
    """Which half of the questions each belongs to, whatever its format."""
    topics = sorted({one.topic for one in judged})
    return {topic: HALVES[place % 2] for place, topic in enumerate(topics)}


def sampled(judged: Sequence[Judged], how: Sampling, seed: int) -> tuple[Any, Floats]:
    """Answers to train the encoder on, and what each counts.

    Returns:
        Places in `judged`, ascending, and for each how many answers it stands for.
    """
    unclear = np.array([one.aligned < 60 or one.coherent < 75 for one in judged])
    most = min(how.most, len(judged))
    wanted = min(int(unclear.sum()), round(how.unclear_share * most))
    wanted = max(wanted, most - int((~unclear).sum()))
    draw = np.random.default_rng(seed)
    chosen, weights = [], np.ones(len(judged))
    for kind, size in ((unclear, wanted), (~unclear, most - wanted)):
        places = kind.nonzero()[0]
        if size:
            weights[places] = len(places) / size
        chosen.append(draw.permutation(places)[:size])
    places = np.sort(np.concatenate(chosen))
    return places, weights[places]


# -- an unfinished run


def _same_run(plan: Plan, file: Path) -> None:
    """Begin a run, or go on with one that is the same."""
    said = json.dumps(
        {
            "file_sha256": sha256(file),
            "seed": plan.seed,
            "sampling": asdict(plan.sampling),
            "settings": asdict(plan.settings),
        },
        sort_keys=True,
    )
    begun = plan.folder / "run.json"
    if begun.exists():
        if begun.read_text(encoding="utf-8") != said:
            raise InputError(
                f"{plan.folder}: holds an unfinished run on other answers or with other settings; "
                "give those, or remove the folder to begin anew"
            )
        return
    try:
        plan.folder.mkdir(parents=True, exist_ok=True)
        begun.write_text(said, encoding="utf-8")
    except OSError as error:
        raise InputError(f"{plan.folder}: {error.strerror or error}") from error


def _slug(part: str) -> str:
    return hashlib.sha256(part.encode()).hexdigest()[:12] if part != EVERYTHING else part
