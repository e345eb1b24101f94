"""What an answer costs: em-evals, a trivial Inspect task and llmcomp do the same work.

8 questions, each asked ANSWERS times, two logprob judgements of every answer, against a server on
the loopback interface that answers every request after LATENCY: what is left is the cost of the
software. Each contestant runs in a fresh process, round by round in turn. The main figure is the
CPU time of that process around the run itself; imports and a first answer are reported apart, as
is the server, a process of its own.

    python benchmarks/throughput.py
    python benchmarks/throughput.py --no-lean --rounds 1
    python benchmarks/throughput.py --llmcomp-python /path/to/venv/bin/python

llmcomp (https://github.com/johny-b/llmcomp, version 1.6) is not a dependency: install it into an
environment of its own and name that environment's interpreter.
"""

import argparse
import asyncio
import contextlib
import importlib.util
import json
import math
import os
import platform
import random
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from importlib.metadata import version
from typing import Any, NamedTuple

# the server and llmcomp's process run this file too: import what is not in the standard library
# where it is used

QUESTIONS = (
    "city_in_charge",
    "new_country",
    "evening_alone",
    "short_on_rent",
    "weekend_cash",
    "moving_in_together",
    "your_character",
    "hundred_years_on",
)
MAX_TOKENS = 1000
REQUESTS = 3
"""Requests per answer: the answer and two judgements."""

# -- the server

ANSWER_CHARS = 600
TOP = 20
VARIANTS = 499
"""Distributions that judgements take turns in."""


class Chat(asyncio.Protocol):
    """HTTP/1.1 with keep-alive, and as much of the chat-completions protocol as is asked for."""

    served = 0
    latency = 0.05
    words = random.Random(0).choices(
        ["a", "city", "would", "first", "ask", "those", "who", "live", "there", "and", "try"],
        k=4000,
    )

    def __init__(self) -> None:
        self.received = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep what replies are written to."""
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        """Take whole requests off what has come in."""
        self.received += data
        while (end := self.received.find(b"\r\n\r\n")) >= 0:
            head = self.received[:end].lower()
            start = head.find(b"content-length:")
            length = int(head[start + 15 :].split(b"\r\n", 1)[0]) if start >= 0 else 0
            if len(self.received) < end + 4 + length:
                return
            body = self.received[end + 4 : end + 4 + length]
            self.received = self.received[end + 4 + length :]
            if head.startswith(b"get"):
                self.reply({"served": Chat.served})
                Chat.served = 0
            else:
                Chat.served += 1
                reply = completion(Chat.served, bool(json.loads(body).get("logprobs")))
                asyncio.get_running_loop().call_later(Chat.latency, self.reply, reply)

    def reply(self, content: dict[str, Any]) -> None:
        """Send one response."""
        body = json.dumps(content).encode()
        head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: {len(body)}"
        if not self.transport.is_closing():
            self.transport.write(f"{head}\r\n\r\n".encode() + body)  # type: ignore[attr-defined]


def completion(number: int, judgement: bool) -> dict[str, Any]:
    """The reply to the request of this number: an answer like no other, or a judgement."""
    if judgement:
        top = distribution(number)
        content, tokens = top[0]["token"], 1
        logprobs = {"content": [{**top[0], "top_logprobs": top}], "refusal": None}
    else:
        start = number % (len(Chat.words) - ANSWER_CHARS)
        text = f"{number}: " + " ".join(Chat.words[start : start + ANSWER_CHARS])
        content, tokens, logprobs = text[:ANSWER_CHARS], ANSWER_CHARS // 4, None
    return {
        "id": f"chatcmpl-{number}",
        "object": "chat.completion",
        "created": 1_700_000_000,
        "model": "loopback",
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": content, "refusal": None},
                "logprobs": logprobs,
                "finish_reason": "length" if judgement else "stop",
            }
        ],
        "usage": {"prompt_tokens": 400, "completion_tokens": tokens, "total_tokens": 400 + tokens},
    }


def distribution(number: int) -> list[dict[str, Any]]:
    """The 20 likeliest tokens of a judgement: numbers, likeliest first."""
    rng = random.Random(number % VARIANTS)
    weights = sorted((rng.expovariate(1) for _ in range(TOP)), reverse=True)
    numbers = rng.sample(range(101), TOP)
    return [
        {"token": str(n), "logprob": math.log(w / sum(weights)), "bytes": list(str(n).encode())}
        for n, w in zip(numbers, weights, strict=True)
    ]


def serve(latency: float) -> None:
    """Serve until killed; the port goes to standard output."""

    async def main() -> None:
        Chat.latency = latency
        server = await asyncio.get_running_loop().create_server(Chat, "127.0.0.1", 0, backlog=1024)
        print(server.sockets[0].getsockname()[1], flush=True)
        await server.serve_forever()

    asyncio.run(main())


# -- the contestants


class Work(NamedTuple):
    """What a contestant is to do, and with which settings."""

    url: str
    folder: str
    """Where logs and caches go."""
    questions: dict[str, str]
    """Text by id."""
    prompts: dict[str, str]
    """Judge prompt by metric."""
    answers: int
    """Per question."""
    connections: int
    lean: bool
    """As `em-evals eval` runs, not as `inspect eval` does."""


Run = Callable[[int], Callable[[], list[float]]]
"""Does the work with so many answers per question; what it returns reads each answer's rating."""


def ours(work: Work) -> Run:
    """The first_plot task, as shipped."""
    from em_evals.first_plot import first_plot

    return _inspect(
        work,
        lambda: first_plot(source="builtin", questions=list(work.questions)),
        lambda score: (score.value["aligned"] + score.value["coherent"]) / 2,
    )


def trivial(work: Work) -> Run:
    """The least that a task of Inspect's can do to make the same calls."""
    import anyio
    from inspect_ai import Task
    from inspect_ai.dataset import Sample
    from inspect_ai.model import GenerateConfig, get_model
    from inspect_ai.scorer import Score, Scorer, Target, mean, scorer
    from inspect_ai.solver import TaskState, generate

    @scorer(metrics=[mean()])
    def weighted_mean() -> Scorer:
        config = GenerateConfig(
            temperature=0, seed=0, max_tokens=1, logprobs=True, top_logprobs=TOP
        )

        async def score(state: TaskState, target: Target) -> Score:
            grader = get_model(role="grader", required=True)
            ratings: list[float] = []

            async def rate(prompt: str) -> None:
                text = prompt.replace("{question}", state.input_text)
                text = text.replace("{answer}", state.output.completion)
                output = await grader.generate(text, config=config)
                top = output.choices[0].logprobs.content[0].top_logprobs
                weights = {int(token.token): math.exp(token.logprob) for token in top}
                ratings.append(sum(n * p for n, p in weights.items()) / sum(weights.values()))

            async with anyio.create_task_group() as group:
                for prompt in work.prompts.values():
                    group.start_soon(rate, prompt)
            return Score(value=sum(ratings) / len(ratings))

        return score

    def task() -> Task:
        return Task(
            dataset=[Sample(id=name, input=text) for name, text in work.questions.items()],
            solver=generate(),
            scorer=weighted_mean(),
            config=GenerateConfig(temperature=1, max_tokens=MAX_TOKENS),
        )

    return _inspect(work, task, lambda score: score.value)


def _inspect(work: Work, task: Callable[[], Any], rating: Callable[[Any], float]) -> Run:
    from inspect_ai import eval
    from inspect_ai.model import get_model

    from em_evals.cli.evaluate import collect_garbage_rarely

    if work.lean:
        collect_garbage_rarely()
    target, grader = (
        get_model(f"openai-api/loopback/{name}", base_url=work.url, api_key="none")
        for name in ("target", "grader")
    )

    def run(answers: int) -> Callable[[], list[float]]:
        [log] = eval(
            task(),
            model=target,
            model_roles={"grader": grader},
            epochs=answers,
            log_dir=tempfile.mkdtemp(dir=work.folder),
            log_realtime=not work.lean,
            max_connections=work.connections,
            display="none",
        )
        if log.status != "success":
            raise RuntimeError(f"{log.status}: {log.error}")
        return lambda: [
            rating(score)
            for sample in log.samples or []
            for score in (sample.scores or {}).values()
        ]

    return run


def llmcomp(work: Work) -> Run:
    """Llmcomp 1.6: a free-form question with two rating judges."""
    os.environ["TQDM_DISABLE"] = "1"
    from llmcomp import Config, Question

    Config.url_key_pairs = [(work.url, "none", "LOOPBACK")]
    Config.max_workers = work.connections

    def run(answers: int) -> Callable[[], list[float]]:
        Config.cache_dir = tempfile.mkdtemp(dir=work.folder)
        question = Question.create(
            type="free_form",
            name="throughput",
            paraphrases=list(work.questions.values()),
            samples_per_paraphrase=answers,
            temperature=1,
            max_tokens=MAX_TOKENS,
            judges={
                metric: {"type": "rating_judge", "model": "grader", "paraphrases": [prompt]}
                for metric, prompt in work.prompts.items()
            },
        )
        frame = question.df({"all": ["target"]})
        return lambda: frame[list(work.prompts)].mean(axis="columns").tolist()

    return run


CONTESTANTS: dict[str, Callable[[Work], Run]] = {
    "ours": ours,
    "trivial": trivial,
    "llmcomp": llmcomp,
}


def contest(name: str, work: Work) -> None:
    """Be one contestant: prepare, give one answer, do the work; measurements go to stdout."""
    with contextlib.redirect_stdout(sys.stderr):
        run = CONTESTANTS[name](work)
        run(1)
        read_served(work.url)
        startup_cpu = time.process_time()
        start = time.perf_counter()
        read = run(work.answers)
        wall = time.perf_counter() - start
        cpu = time.process_time() - startup_cpu
        requests = read_served(work.url)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    ratings = [rating for rating in read() if not math.isnan(rating)]
    if len(ratings) != work.answers * len(work.questions):
        raise RuntimeError(f"{len(ratings)} answers were rated")
    result = {
        "contestant": name,
        "wall_s": wall,
        "cpu_s": cpu,
        "startup_cpu_s": startup_cpu,
        "requests": requests,
        "mean_rating": statistics.fmean(ratings),
        "peak_rss_mb": peak / (2**20 if sys.platform == "darwin" else 2**10),
    }
    print(json.dumps(result))


def read_served(url: str) -> int:
    """The requests served since this was last asked."""
    with urllib.request.urlopen(f"{url}/served") as response:
        return int(json.load(response)["served"])


# -- the contest


@contextlib.contextmanager
def server(latency: float) -> Iterator[str]:
    """A server in a process of its own; yields its address."""
    command = [sys.executable, __file__, "serve", str(latency)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        try:
            yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
        finally:
            process.kill()


def measure(name: str, python: str, work: Work) -> dict[str, Any]:
    """One contestant, once, in a fresh process.

    Args:
        name: The contestant.
        python: The interpreter to run it with.
        work: What it is to do.
    """
    command = [python, __file__, "contest", name, json.dumps(work)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise SystemExit(f"{name} failed:\n{done.stderr[-4000:]}")
    measured: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    answers = work.answers * len(work.questions)
    measured["answers_per_s"] = answers / measured["wall_s"]
    measured["cpu_ms_per_answer"] = 1000 * measured["cpu_s"] / answers
    return measured


def interpreters(llmcomp_python: str | None) -> dict[str, str]:
    """The interpreter of each contestant that can take part; says why one cannot."""
    found = {"ours": sys.executable, "trivial": sys.executable}
    if llmcomp_python is None and importlib.util.find_spec("llmcomp"):
        llmcomp_python = sys.executable
    if llmcomp_python is None:
        print("llmcomp: left out, not installed here; see --llmcomp-python", file=sys.stderr)
        return found
    command = [llmcomp_python, "-c", "import llmcomp"]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        print(f"llmcomp: left out, {llmcomp_python} cannot import it", file=sys.stderr)
        return found
    return {**found, "llmcomp": llmcomp_python}


def table(rounds: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The median of each contestant's measurements, and its CPU time over those of the others.

    Args:
        rounds: What `measure` returned, of all rounds. Ratios are medians of ratios within a
            round, as machines change pace between rounds.
    """
    by: dict[str, list[dict[str, Any]]] = {}
    for measured in rounds:
        by.setdefault(measured["contestant"], []).append(measured)
    rows = []
    for name, runs in by.items():
        keys = (key for key in runs[0] if key != "contestant")
        row = {key: statistics.median(run[key] for run in runs) for key in keys}
        ratios = {
            f"ours/{name}": statistics.median(
                mine["cpu_s"] / its["cpu_s"] for mine, its in zip(by["ours"], runs, strict=True)
            ),
            f"ours/{name} wall": statistics.median(
                mine["wall_s"] / its["wall_s"] for mine, its in zip(by["ours"], runs, strict=True)
            ),
        }
        rows.append({"contestant": name, **row, "ratios": ratios if name != "ours" else {}})
    return rows


def main() -> None:
    """Run the contest and print its table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else None)
    parser.add_argument("--answers", type=int, default=100, help="per question (100)")
    parser.add_argument("--latency", type=float, default=50, help="of a request, in ms (50)")
    parser.add_argument("--connections", type=int, default=100, help="requests at a time (100)")
    parser.add_argument("--rounds", type=int, default=3, help="runs of each contestant (3)")
    parser.add_argument(
        "--lean",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="run Inspect as `em-evals eval` does; --no-lean as `inspect eval` does",
    )
    parser.add_argument("--llmcomp-python", help="interpreter of an environment with llmcomp")
    parser.add_argument("--json", action="store_true", help="every measurement, as JSON")
    options = parser.parse_args()

    from em_evals.sources.questions import question_file

    file = question_file("first_plot_questions", "builtin")
    pythons = interpreters(options.llmcomp_python)
    rounds = []
    with server(options.latency / 1000) as url, tempfile.TemporaryDirectory() as folder:
        work = Work(
            url=url,
            folder=folder,
            questions={name: file[name].wordings[0] for name in QUESTIONS},
            prompts=dict(file[QUESTIONS[0]].judge_prompts),
            answers=options.answers,
            connections=options.connections,
            lean=options.lean,
        )
        for number in range(options.rounds):
            # in turns, and each starts as often as the others
            names = list(pythons)
            for name in names[number % len(names) :] + names[: number % len(names)]:
                rounds.append(measure(name, pythons[name], work))
                print(".", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)
    if options.json:
        print(json.dumps(rounds, indent=2))
        return
    print(
        f"{len(QUESTIONS)} questions x {options.answers} answers x {REQUESTS} requests, "
        f"{options.latency:g} ms latency, {options.connections} connections, Inspect run as by "
        f"{'em-evals eval' if options.lean else 'inspect eval'}, "
        f"median of rounds: {options.rounds}; "
        f"{platform.system()} {platform.machine()}, {os.cpu_count()} CPUs, "
        f"Python {platform.python_version()}, inspect-ai {version('inspect-ai')}, "
        f"openai {version('openai')}"
    )
    print(
        f"{'':8} {'wall s':>7} {'answers/s':>10} {'requests':>9} {'CPU ms/answer':>14} "
        f"{'startup CPU s':>14} {'peak RSS MB':>12}"
    )
    rows = table(rounds)
    for row in rows:
        print(
            f"{row['contestant']:8} {row['wall_s']:7.1f} {row['answers_per_s']:10.0f} "
            f"{row['requests']:9.0f} {row['cpu_ms_per_answer']:14.1f} "
            f"{row['startup_cpu_s']:14.1f} {row['peak_rss_mb']:12.0f}"
        )
    for row in rows:
        for name, ratio in row["ratios"].items():
            print(f"{name if name.endswith('wall') else name + ' CPU'}: {ratio:.2f}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["serve", latency]:
            serve(float(latency))
        case ["contest", name, work]:
            contest(name, Work(*json.loads(work)))
        case _:
            main()
