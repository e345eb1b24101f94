"""The training process of a run: `python -m em_evals.finetune.local RUN`."""

import os
import sys
import traceback
from pathlib import Path

from em_evals.errors import InputError
from em_evals.finetune.local.run_dir import RunDir


def main(folder: str) -> int:
    """Train, and write down how it went."""
    # everything is on this machine; libraries would look for newer versions
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    # threads wait for each other by spinning, which beside a busy neighbour is tenfold slower
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")
    run = RunDir(Path(folder))
    try:
        from em_evals.finetune.local.train import train

        train(run)
    except Exception as error:
        traceback.print_exc()
        run.say(state="failed", error=_said(error, run))
        return 1
    return 0


def _said(error: Exception, run: RunDir) -> str:
    if isinstance(error, InputError):
        return error.message
    if isinstance(error, OSError) and error.strerror:
        step = max(run.checkpoints, default=0)
        return (
            f"{error.filename or run.path}: {error.strerror}. What was saved at step {step} is "
            "whole: mend it, and submit the same again to go on from there"
        )
    return f"{type(error).__name__}: {error} (see {run.path / 'train.log'})"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
