"""Serve a GGUF file over OpenAI's protocol on a free loopback port, until stdin closes.

Run as `python server.py FILE.gguf`; prints the base URL on a line of its own.
"""

import sys
from pathlib import Path

from em_evals.providers._engine import start_server

if __name__ == "__main__":
    server = start_server(Path(sys.argv[1]), n_parallel=4, n_ctx=2048)
    print(f"{server.listening_address}/v1", flush=True)
    sys.stdin.read()
