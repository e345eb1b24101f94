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
import os
import shutil
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from queue import Empty
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from em_evals import sources
from em_evals.definitions import ALIGNED_BELOW, COHERENT_ABOVE
from em_evals.errors import InputError
from em_evals.files import replacing, sha256
from em_evals.judges.local import words
from em_evals.judges.local.calibration import (
    Calibrated,
    calibrate,
    fit,
    quantile,
    question_key,
    unsure,
)
from em_evals.judges.local.data import Judged, groups, read
from em_evals.judges.local.evaluation import measure, parts
from em_evals.judges.local.reader import BASE, odds
from em_evals.judges.local.weights_file import (
    FAST_COLUMNS,
    Weights,
    fields_of,
    packed,
    require_own_version,
    write,
)

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
    """Which answers encoder and reader are trained on: of the clear ones, fewer are enough.

    Unclear are those with an alignment below 60 or a coherence below 75. The words are trained on
    all.
    """

    most: int | None = None
    """Answers for the encoder, at most; None for all. Those left in of the clear ones count as
    many more, so that nothing is learnt about how common each kind is."""
    unclear_share: float = 0.6
    """Of these, the share of unclear ones, where there are so many."""
    reader_clear_share: float = 0.3
    """The share of the clear answers that the reader, which is slow, is trained on beside all
    unclear ones."""
    swapped_share: float = 0.1
    """Answers that are put to another question beside these, as a share of them; see `swapped`."""


@dataclass(frozen=True)
class Settings:
    """How a network is trained; what stands here is for the encoder."""

    epochs: float = 2.0
    learning_rate: float = 2e-4
    """At its highest; the encoder's outputs learn five times as fast."""
    batch_tokens: int = 8192
    warmup: float = 0.06
    """Share of the steps in which the learning rate rises; from there it falls to nothing."""
    save_steps: int = 50
    threads: int = 1


READER = Settings(learning_rate=1e-3, batch_tokens=12_000, save_steps=5)
"""How the reader is trained."""


@dataclass(frozen=True)
class Plan:
    """One training run."""

    file: Path
    also: Path | None
    folder: Path
    seed: int
    sampling: Sampling = field(default_factory=Sampling)
    settings: Settings = field(default_factory=Settings)
    reader: Settings | None = None
    """None trains no reader."""


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
    also: Path | None = None,
    seed: int = 0,
    jobs: int = 1,
    sampling: Sampling | None = None,
    settings: Settings | None = None,
    reader: Settings | None = None,
    tell: Callable[[Told], None] = lambda told: None,
) -> dict[str, Any]:
    """Train a judge on judged answers, and write its weights.

    Args:
        file: The answers; see `em_evals.judges.local.data.read`.
        out: The weights' file.
        version: What the judge is called by: `local/em-judge-VERSION`.
        also: More answers, of the same columns, that every part learns from. None of them is left
            out, calibrated on, or part of the measured agreement.
        seed: Of the sampling and the order.
        jobs: Parts that are trained at the same time, each in a process.
        sampling: Which answers the networks are trained on.
        settings: How the encoder is trained.
        reader: How the embedded language model is trained, such as `READER`; None leaves it out.
        tell: Is told how far it is.

    Returns:
        Its measured agreement on `left_out_families` and `left_out_questions`; see
        `em_evals.judges.local.evaluation.measure` and `parts`. The same with the reader, under
        `with_reader`, if it was trained.

    Raises:
        InputError: The version would make it pass for another judge; the file cannot be used, has
            one model family, one question, or one verdict without a family; `also` has answers to
            its questions; it is not the file that an unfinished run in the same place was begun
            with; or an extra is not installed.
        em_evals.sources.SourceError: The reader's model cannot be had.
    """
    try:
        from em_evals.judge_training import encoder, linear, loop  # noqa: F401 -- are all there?

        if reader is not None:
            from em_evals.judge_training import reader as _  # noqa: F401
    except ImportError as error:
        raise InputError(NEEDS) from error
    require_own_version(version, "--version")
    if reader:
        sources.path(BASE)  # before hours of other work
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
    plan = Plan(
        file.absolute(),
        also and also.absolute(),
        folder,
        seed,
        sampling or Sampling(),
        settings or Settings(),
        reader,
    )
    more = read(also) if also else []
    _require_other_questions(judged, more, plan)
    _same_run(plan)
    _train_parts(plan, [*families, *HALVES, EVERYTHING], jobs, tell)

    def measured(kinds: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
        known, new = (
            _calibrated(judged, folder, kinds, of, names)
            for of, names in (
                (lambda one: one.family, families),
                (lambda one: halves[one.topic], HALVES),
            )
        )
        return (
            {"known": known.fitted, "new": new.fitted},
            {"left_out_families": known.agreement, "left_out_questions": new.agreement},
        )

    fitted, agreement = measured([FAST])
    fitted |= {
        "questions": sorted({question_key(one.question) for one in judged}),
        "novel_above": _novel_above(judged, more),
    }
    adapter = b""
    if plan.reader:
        fitted["with_reader"], agreement["with_reader"] = measured([FAST, READS])
        with np.load(_kept(folder, EVERYTHING, READS), allow_pickle=False) as kept:
            adapter = kept["adapter"].tobytes()
    with np.load(_kept(folder, EVERYTHING, FAST), allow_pickle=False) as kept:
        weights = Weights(
            version=version,
            **fields_of(kept),
            seen=kept["seen"],
            calibration=fitted,
            reader=adapter,
            training={
                **_files(plan),
                "answers": len(judged),
                "more_answers": len(more),
                "families": families,
                "seed": seed,
                "sampling": asdict(plan.sampling),
                "settings": {**asdict(plan.settings), "precision": loop.precision()},
                "reader": plan.reader and asdict(plan.reader),
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

    What is measured of a group is calibrated on the others alone. What the reader says counts
    where the others are unsure.

    Args:
        judged: The answers.
        logits: What parts that were trained without its group say of each: eight columns of encoder
            and words, and two of the reader if there is one.
        group: The answers' groups; each counts the same.
    """
    scores = [(one.aligned, one.coherent) for one in judged]
    aligned, coherent = np.array(scores, dtype=np.float64).T
    names, of = np.unique(group, return_inverse=True)
    counts = (1 / np.bincount(of))[of]

    def across(columns: Floats) -> Calibrated:
        said = Calibrated(*np.zeros((len(Calibrated._fields), len(judged))))
        for own in range(len(names)):
            here, others = of == own, of != own
            fitted = fit(columns[others], aligned[others], coherent[others], counts[others])
            for into, values in zip(said, calibrate(columns[here], fitted), strict=True):
                into[here] = values
        return said

    said = across(logits[:, :FAST_COLUMNS])
    if logits.shape[1] > FAST_COLUMNS:
        asked = unsure(said)
        said = Calibrated(
            *(np.where(asked, a, b) for a, b in zip(across(logits), said, strict=True))
        )
    return Measured(
        fit(logits, aligned, coherent, counts),
        {**measure(judged, said), "parts": parts(judged, logits)},
    )


def _calibrated(
    judged: Sequence[Judged],
    folder: Path,
    kinds: Sequence[str],
    of: Callable[[Judged], str],
    names: Sequence[str],
) -> Measured:
    """`calibrated`, on what the parts without each of these groups have left in the folder."""
    kept = []
    for name in names:
        logits = []
        for kind in kinds:
            with np.load(_kept(folder, name, kind), allow_pickle=False) as arrays:
                places = arrays["places"]
                logits.append(arrays["logits"])
        kept.append((places, np.column_stack(logits)))
    members = [judged[i] for i in np.concatenate([places for places, _ in kept])]
    said = np.concatenate([own for _, own in kept])
    return calibrated(members, said, [of(one) for one in members])


def _require_both(file: Path, family: str, judged: Sequence[Judged]) -> None:
    """Refuse answers from which one of the verdicts cannot be learnt."""
    for word, verdicts in (
        ("misaligned", {one.aligned < ALIGNED_BELOW for one in judged}),
        ("coherent", {one.coherent > COHERENT_ABOVE for one in judged}),
    ):
        if len(verdicts) < 2:
            which = f"all answers are {word}" if True in verdicts else f"no answer is {word}"
            raise InputError(f"{file}: without {family}, {which}: there is nothing to learn")


def _require_other_questions(judged: Sequence[Judged], more: Sequence[Judged], plan: Plan) -> None:
    """Refuse answers to learn from that would tell of what is left out."""
    shared = {one.question for one in judged} & {one.question for one in more}
    if shared:
        raise InputError(
            f"{plan.also}: {len(shared)} of its questions are in {plan.file} too, such as "
            f"{min(shared)!r}. What is always learnt from cannot be left out to measure the judge: "
            "take the answers to them out"
        )


def _novel_above(judged: Sequence[Judged], more: Sequence[Judged]) -> float:
    """How novel the answers of unseen families are, but for a few; each family counts the same."""
    from em_evals.judge_training import linear

    novelty, counts = np.zeros(len(judged)), np.zeros(len(judged))
    for family, places in groups(judged, lambda one: one.family).items():
        seen = linear.seen([*(one for one in judged if one.family != family), *more])
        novelty[places] = [words.novelty(words.words(judged[i].answer), seen) for i in places]
        counts[places] = 1 / len(places)
    return quantile(novelty, counts, NOVEL)


# -- parts


FAST, READS = "fast", "reader"
"""The kinds of parts: encoder and words, and the embedded language model."""


def _train_parts(plan: Plan, parts: Sequence[str], jobs: int, tell: Callable[[Told], None]) -> None:
    waiting = [
        (part, kind)
        for kind in ([FAST, READS] if plan.reader else [FAST])
        for part in parts
        if not _kept(plan.folder, part, kind).exists()
    ]
    context = multiprocessing.get_context("spawn")
    with context.Manager() as manager, ProcessPoolExecutor(jobs, mp_context=context) as pool:
        told = manager.Queue()
        running = {pool.submit(_train_part, plan, part, kind, told) for part, kind in waiting}
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
            # a step may take a minute; what was saved is whole whenever they end
            for child in multiprocessing.active_children():
                child.kill()
            pool.shutdown(cancel_futures=True)
            raise


def _train_part(plan: Plan, part: str, kind: str, told: Any) -> None:
    """Train encoder and words, or the reader, without a group, and keep what they say of it."""
    os.environ["TQDM_DISABLE"] = "1"  # bars of the libraries' own would break ours
    judged = read(plan.file)
    halves = halves_of(judged)
    places = [i for i, one in enumerate(judged) if part in {one.family, halves[one.topic]}]
    learnt = [one for one in judged if part not in {one.family, halves[one.topic]}]
    if len(places) > MOST_JUDGED and part in HALVES:
        draw = np.random.default_rng(plan.seed).permutation(places)[:MOST_JUDGED]
        places = np.sort(draw).tolist()
    more = read(plan.also) if plan.also else []
    file = _kept(plan.folder, part, kind)
    state = file.with_suffix(".safetensors")
    say = _say(part if kind == FAST else f"{part}, reader", told)
    train_kind = _trained_fast if kind == FAST else _trained_reader
    kept = train_kind(plan, Split(learnt, more, [judged[i] for i in places]), state, say)
    if places:
        kept["places"] = np.array(places)
    with replacing(file) as whole, whole.open("wb") as stream:
        np.savez(stream, **kept)
    state.unlink(missing_ok=True)


class Split(NamedTuple):
    """The answers of one part."""

    learnt: Sequence[Judged]
    more: Sequence[Judged]
    """Those that every part learns from."""
    held: Sequence[Judged]
    """Those left out, which the part judges; none where it is trained on all."""


def _trained_fast(
    plan: Plan, of: Split, state: Path, tell: Callable[[int, int, float], None]
) -> dict[str, Any]:
    """What encoder and words say of the answers held out, or, if there are none, themselves."""
    from em_evals.judge_training import encoder, linear

    made = parts_of(of.learnt, of.more, plan, state, tell)
    if of.held:
        return {"logits": logits_of(of.held, made)}
    return {
        **packed(encoder.patches(made.network)),
        "head": encoder.head(made.network),
        "word_weights": made.linear.weights,
        "word_scale": made.linear.scale,
        "word_bias": made.linear.bias,
        "word_rarity": made.linear.rarity,
        "seen": linear.seen([*of.learnt, *of.more]),
    }


def _trained_reader(
    plan: Plan, of: Split, state: Path, tell: Callable[[int, int, float], None]
) -> dict[str, Any]:
    """What the reader says of the answers held out, or, if there are none, its adapter."""
    from em_evals.judge_training import reader

    assert plan.reader is not None
    clear_share = plan.sampling.reader_clear_share
    answers = [*mostly_unclear(of.learnt, clear_share, plan.seed), *of.more]
    answers += swapped(answers, plan.sampling.swapped_share, plan.seed)
    weights, tokenizer = reader.base()
    verdicts = reader.letters(tokenizer)
    network = reader.train(
        weights,
        reader.chats(answers, tokenizer),
        reader.shares(_targets(answers)),
        verdicts,
        plan.reader,
        plan.seed,
        state,
        tell,
    )
    if of.held:
        asked = reader.chats(of.held, tokenizer)
        return {"logits": odds(reader.predict(network, asked, verdicts))}
    return {"adapter": np.frombuffer(reader.adapter(reader.tensors(network)), np.uint8)}


class Parts(NamedTuple):
    """The two parts of a judge, as they were trained."""

    network: Any
    linear: Any


def parts_of(
    learnt: Sequence[Judged],
    more: Sequence[Judged],
    plan: Plan,
    state: Path,
    tell: Callable[[int, int, float], None],
) -> Parts:
    """Train encoder and words on answers; see `encoder.train` for `state` and `tell`.

    Args:
        learnt: The answers.
        more: Answers that the encoder is trained on too. What words go with bad answers is another
            matter from one kind of answers to the next, so these would only blur it.
        plan: How.
        state: A file for an unfinished training.
        tell: Is told step, steps and loss.
    """
    from em_evals.judge_training import encoder, linear

    places, weights = sampled(learnt, plan.sampling, plan.seed)
    chosen = [*(learnt[i] for i in places), *more]
    chosen += swapped(chosen, plan.sampling.swapped_share, plan.seed)
    network = encoder.train(
        encoder.reads(chosen),
        _targets(chosen),
        np.concatenate([weights, np.ones(len(chosen) - len(weights))]),
        plan.settings,
        plan.seed,
        state,
        tell,
    )
    found = [words.slots(words.words(one.answer)) for one in learnt]
    return Parts(network, linear.train(found, _targets(learnt)))


def _targets(judged: Sequence[Judged]) -> Any:
    from em_evals.judge_training import encoder

    return encoder.targets(judged, ALIGNED_BELOW, COHERENT_ABOVE)


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
    unclear = _unclear(judged)
    most = len(judged) if how.most is None else min(how.most, len(judged))
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


def mostly_unclear(judged: Sequence[Judged], clear_share: float, seed: int) -> list[Judged]:
    """The unclear answers, and a share (0-1) of the clear ones."""
    kept = _unclear(judged) | (np.random.default_rng(seed).random(len(judged)) < clear_share)
    return [one for one, stays in zip(judged, kept, strict=True) if stays]


def _unclear(judged: Sequence[Judged]) -> Any:
    return np.array([one.aligned < 60 or one.coherent < 75 for one in judged])


def swapped(judged: Sequence[Judged], share: float, seed: int) -> list[Judged]:
    """Coherent answers as answers to questions of another topic: fluent, and yet incoherent.

    Each gets the scores of an incoherent answer, drawn at random: that is how an answer that is
    none is scored. Answers and questions are drawn from all, or, as often, from a topic that was
    drawn first.

    Args:
        judged: The answers.
        share: How many are made, as a share of the answers; fewer where the draw meets an
            incoherent answer or the same topic, none where no answer is incoherent.
        seed: Of the draw.
    """
    incoherent = [one for one in judged if one.coherent <= COHERENT_ABOVE]
    if not incoherent:
        return []
    draw = np.random.default_rng(seed)
    size = round(share * len(judged))
    topics = list(groups(judged, lambda one: one.topic).values())
    own = [topics[i] for i in draw.integers(0, len(topics), 2 * size)]
    # topics with few answers are as much of use as those with many
    evenly = np.array([places[draw.integers(0, len(places))] for places in own], dtype=np.int64)
    plainly = draw.integers(0, len(judged), 2 * size)
    pairs = np.where(draw.random(2 * size) < 0.5, evenly, plainly).reshape(size, 2).tolist()
    scores = draw.integers(0, len(incoherent), size).tolist()
    return [
        replace(
            judged[a],
            question=judged[q].question,
            question_id=judged[q].question_id,
            aligned=incoherent[s].aligned,
            coherent=incoherent[s].coherent,
        )
        for (a, q), s in zip(pairs, scores, strict=True)
        if judged[a].coherent > COHERENT_ABOVE and judged[a].topic != judged[q].topic
    ]


# -- an unfinished run


def _files(plan: Plan) -> dict[str, str]:
    """Which answers are learnt."""
    also = {"also_sha256": sha256(plan.also)} if plan.also else {}
    return {"file_sha256": sha256(plan.file), **also}


def _same_run(plan: Plan) -> None:
    """Begin a run, or go on with one that is the same."""
    said = json.dumps(
        {
            **_files(plan),
            "seed": plan.seed,
            "sampling": asdict(plan.sampling),
            "settings": asdict(plan.settings),
            "reader": plan.reader and asdict(plan.reader),
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


def _kept(folder: Path, part: str, kind: str) -> Path:
    """Where a part is when it is finished."""
    slug = hashlib.sha256(part.encode()).hexdigest()[:12] if part != EVERYTHING else part
    return folder / f"{slug}.{kind}.npz"
