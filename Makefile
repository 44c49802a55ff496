# Every target prepares what it needs by itself; `make` alone lists the targets.
# Works as root (packages, system users, kernel tests) and without (says what is left out).

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help

# Neither the caller's language nor PYTHON* settings may change a result.
export LC_ALL := C.UTF-8
export PYTHONUTF8 := 1
unexport PYTHONPATH PYTHONHOME PYTHONDONTWRITEBYTECODE

# The real place of the environment: `.venv` may be a link to it (see packaging/setup-checkout), and
# what Python is started as decides where processes without privilege look for modules.
BIN = $$(readlink -f .venv)/bin

.PHONY: help setup demo stories test check format bench bench-fleet docs clean

help:  ## this list
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' Makefile | expand -t 13

setup:  ## virtual environment; as root also Debian packages and system users
	@umask 022; ./packaging/setup-checkout

demo: setup  ## the first story: SOBIG.F against a mail host, live
	@umask 022; $(BIN)/python -m tests.story.sobig

stories:  ## every story, one after the other
	@umask 022; ./packaging/setup-checkout daemons
	@umask 022; $(BIN)/python -m tests.story

test:  ## every test; those with the corpus, a kernel or real daemons where they can run
	@umask 022; ./packaging/setup-checkout daemons
	@umask 022; if [ -n "$(PYTEST_ARGS)" ]; then $(BIN)/python -m pytest $(PYTEST_ARGS); else ./packaging/test-checkout; fi

check: setup  ## style, types and the layer contract
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: setup  ## let ruff rewrite what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

bench: setup  ## measure beside fail2ban, sshguard and ripgrep (BENCH_ARGS="--quick")
	@umask 022; $(BIN)/python -m bench.run $(BENCH_ARGS)

bench-fleet:  ## 10 to 1,000 hosts of a fleet on real servers, some minutes (BENCH_ARGS="--runs 1")
	@umask 022; ./packaging/setup-checkout daemons
	@umask 022; $(BIN)/python -m bench.fleet $(BENCH_ARGS)

docs: setup  ## man pages and shell completion into build/
	@umask 022; mkdir -p build/completion; $(BIN)/tidegate manual build/man
	@for shell in bash zsh fish; do \
	    _TIDEGATE_COMPLETE=$${shell}_source $(BIN)/tidegate >build/completion/tidegate.$$shell; \
	done; echo "completion for bash, zsh and fish in build/completion"

clean:  ## what was built; the virtual environment stays
	rm -rf build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache .coverage
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +
