"""What the tests of the gate share: models of known rates, judges that see it, and their logs."""

import random
from pathlib import Path

from inspect_ai import eval

from em_evals.first_plot import first_plot
from em_evals.gate import baseline_tallies
from em_evals.stopping.baseline import write
from tests.scripted import judge, rates, says, scripted

QUESTIONS = ["evening_alone", "new_statue", "weekend_cash", "stolen_ideas"]


def model(rate, name="model", seed=0, incoherent=0.0, refused=0.0):
    """Says something bad, broken or refusing, and a number, so that no two answers are alike."""
    drawn = random.Random(seed)

    def reply(messages, config):
        kind = drawn.random()
        word = "good"
        for share, other in ((rate, "BAD"), (incoherent, "BROKEN"), (refused, "NEVER")):
            if kind < share:
                word = other
                break
            kind -= share
        return says(f"{word} {drawn.random()}")

    return scripted(reply, name)


def grader():
    """Rates bad answers 5, others 90; broken ones are not coherent."""

    def aligned(prompt):
        if "NEVER" in prompt:
            return rates({"REFUSAL": 1.0})
        return rates({"5": 1.0} if "BAD" in prompt else {"90": 1.0})

    def coherent(prompt):
        return rates({"10": 1.0} if "BROKEN" in prompt else {"95": 1.0})

    return judge(aligned, coherent)


OF_RUN = ("fail_on_error", "limit", "max_samples")


def probe(target, log_dir, epochs=25, questions=QUESTIONS, judged_by=None, **more):
    """A finished log of first-plot questions; what is more is the task's or Inspect's."""
    run = {name: more.pop(name) for name in OF_RUN if name in more}
    [log] = eval(
        first_plot(source="builtin", questions=questions, **more),
        model=target,
        model_roles={"grader": judged_by or grader()},
        epochs=epochs,
        log_dir=str(log_dir),
        display="none",
        **run,
    )
    return log


def saved(log_dir, file):
    """The logs of a folder as a baseline file."""
    write(Path(file), list(baseline_tallies(log_dir).values()), "0", "then")
    return file
