"""What batching gains on the embedded model: tokens per second at 1 and at 8 connections.

Rounds of the two are interleaved, so that other load on the machine falls on both; the ratio of
the totals is the result. Run by hand: `python benchmarks/embedded_batching.py`.
"""

import argparse
import asyncio
import time
from itertools import count

from anyio import CapacityLimiter, create_task_group
from inspect_ai.model import GenerateConfig, Model, get_model

CONNECTIONS = (1, 8)


async def tokens_per_second(
    model: Model, connections: int, calls: int, config: GenerateConfig, prompt: str
) -> tuple[int, float]:
    """Make `calls` calls, `connections` at a time; the tokens generated and the seconds taken."""
    limiter = CapacityLimiter(connections)
    tokens = 0

    async def call() -> None:
        nonlocal tokens
        async with limiter:
            output = await model.generate(prompt, config=config)
        assert output.usage is not None
        tokens += output.usage.output_tokens

    start = time.perf_counter()
    async with create_task_group() as group:
        for _ in range(calls):
            group.start_soon(call)
    return tokens, time.perf_counter() - start


async def main() -> None:
    """Run the rounds and print them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="embedded/smollm2-135m-instruct")
    parser.add_argument("--threads", type=int, default=None, help="default: all cores")
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=64, help="per call")
    args = parser.parse_args()

    start = time.perf_counter()
    model = get_model(args.model, n_threads=args.threads)
    print(f"loaded in {time.perf_counter() - start:.2f} s")
    config = GenerateConfig(
        max_tokens=args.tokens, max_connections=8, extra_body={"ignore_eos": True}
    )
    totals = {connections: [0, 0.0] for connections in CONNECTIONS}
    number = count()
    for _ in range(args.rounds):
        for connections in CONNECTIONS:
            prompt = f"Tell me story number {next(number)}."
            tokens, seconds = await tokens_per_second(model, connections, 8, config, prompt)
            totals[connections][0] += tokens
            totals[connections][1] += seconds
            print(f"{connections} connections: {tokens / seconds:6.1f} tokens/s")
    rates = {connections: tokens / seconds for connections, (tokens, seconds) in totals.items()}
    one, many = (rates[connections] for connections in CONNECTIONS)
    cores = args.threads or "all"
    print(f"{cores} cores: {one:.1f} and {many:.1f} tokens/s, ratio {many / one:.2f}")


if __name__ == "__main__":
    asyncio.run(main())
