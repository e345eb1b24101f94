# Two commands from a bare clone; both need Python 3.11 or newer with pip, and nothing else.
#   make demo   probe the embedded model, offline after the install
#   make test   run the tests
# With a third, `make test-train`, the tests of training on this machine, which need torch. Where
# there is no GPU, TORCH=... names a build for the CPU, as others download gigabytes.

.DEFAULT_GOAL := help
VENV := .venv
BIN := $(VENV)/bin
EMBEDDED := embedded/smollm2-135m-instruct
TORCH ?= torch>=2.13

# the first Python of 3.11 or newer; PYTHON=... chooses another
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python; do \
	$$p -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 \
	&& { echo $$p; break; }; done)

.PHONY: help demo test test-train lint clean

help:
	@sed -n 's/^#   //p' Makefile

# uv where there is one, for speed; pip where not, and where uv cannot reach the user's index
$(VENV)/%.ready: pyproject.toml
	@$(or $(PYTHON),false) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Python 3.11 or newer is needed, and $(or $(PYTHON),none on PATH) is not that." >&2; \
		echo "Install one, or name it: make $(MAKECMDGOALS) PYTHON=/path/to/python" >&2; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing em-evals[$*] into $(VENV) ..."
	@{ command -v uv >/dev/null && uv pip install -q --python $(BIN)/python -e '.[$*]'; } \
		|| $(BIN)/python -m pip install -q --disable-pip-version-check -e '.[$*]'
	@touch $@

demo: $(VENV)/embedded,judge.ready
	@$(BIN)/em-evals sources pull smollm2-135m-instruct
	@$(BIN)/inspect eval em_evals/first_plot --model $(EMBEDDED) \
		--model-role grader=local/em-judge -T source=builtin \
		--epochs 4 --max-tokens 60 --max-connections 8 --log-dir logs
	@$(BIN)/em-evals summary logs --latest
	@echo
	@echo "This shows how everything fits together, and measures little. The model has 135 million"
	@echo "parameters, and most of what it says makes no sense; the judge is small too, learnt from"
	@echo "larger models' answers, and mostly does not see that. How far it agrees with GPT-4o, and"
	@echo "where it must not be used, is in docs/local-judge.md."
	@echo
	@echo "Read the answers, worst first:  $(BIN)/inspect view --log-dir logs"

test: $(VENV)/dev.ready
	@$(BIN)/python -m pytest -n 2 --dist worksteal

# pip, as it finds local builds of torch where uv does not look
$(VENV)/torch.ready: $(VENV)/dev.ready
	@$(BIN)/python -m pip install -q --disable-pip-version-check '$(TORCH)'
	@touch $@

$(VENV)/train.ready: $(VENV)/torch.ready

test-train: $(VENV)/train.ready
	@$(BIN)/python -m pytest -m train -n 2 --dist loadfile

lint: $(VENV)/dev.ready
	$(BIN)/ruff check
	$(BIN)/ruff format --check
	$(BIN)/mypy
	$(BIN)/inspect-evals-lint --all

clean:
	rm -rf $(VENV) .mypy_cache .ruff_cache
