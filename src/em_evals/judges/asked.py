"""Which question file an answer belongs to: the judge's prompts are there."""

from collections.abc import Callable, Collection

from inspect_ai.solver import TaskState

from em_evals.sources.questions import Question, QuestionFile


def asked_file(
    state: TaskState,
    read_file: Callable[[str, str], QuestionFile],
    judge: str,
    tasks: str,
    files: Collection[str] | None = None,
) -> QuestionFile:
    """The question file that an answer belongs to, unchanged since it was asked.

    Args:
        state: The answer; its metadata names file, source and checksum.
        read_file: `question_file`, or the same with a cache.
        judge: What errors call the scorer.
        tasks: The tasks whose answers it judges, for errors.
        files: The question files of these tasks; None is any.

    Raises:
        ValueError: The answer is another task's, or the file has changed since.
    """
    known = [state.metadata.get(key) for key in ("file", "source", "source_sha256")]
    if not all(isinstance(value, str) for value in known):
        raise ValueError(
            f"sample {state.sample_id}: its metadata does not say which question file it is from, "
            f"so {judge} does not know which judge prompts go with it. It judges answers to "
            f"{tasks}."
        )
    name, source, sha256 = map(str, known)
    if files is not None and name not in files:
        raise ValueError(
            f"sample {state.sample_id}: it is from {name}, and {judge} judges answers to {tasks}."
        )
    file = read_file(name, source)
    if file.sha256 != sha256:
        raise ValueError(
            f"sample {state.sample_id}: {file.name} ({file.source}) has changed since it was "
            f"asked (sha256 {sha256[:12]}, now {file.sha256[:12]}), and with it perhaps the judge "
            "prompts. Judge with the version of em-evals that is in the log."
        )
    return file


def asked_question(state: TaskState, file: QuestionFile) -> Question:
    """The entry of its file that an answer belongs to.

    A sample's id is the entry's, but for questions under a condition, whose metadata names it.

    Raises:
        KeyError: The file has no such entry.
    """
    return file[str(state.metadata.get("question_id", state.sample_id))]
