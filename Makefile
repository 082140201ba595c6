# Two commands matter to a newcomer: `make demo` and `make test`. Each sets up all that it needs.
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:
PYTHON ?= python3
UV_VERSION := 0.13.9
# .venv is the lean install (worker on a CPU, demo: no torch); .venv-dev adds training and the tests' tools.
LEAN := .venv
DEV := .venv-dev
export PYTHONSAFEPATH := 1
export UV_LINK_MODE := copy

.PHONY: help env dev demo test lint unit bench bench-sql study clean lock audit-deps fuzz

help:
	@echo "make demo   stream real pictures through Kafka, detectors, Postgres; open demo-output/report.html"
	@echo "make test   lint, types, import contracts and every test, on real services started for the run"
	@echo "make env    the lean environment in .venv (command: .venv/bin/pixassay)"
	@echo "make dev    the development environment in .venv-dev (adds torch, exporters, linters, pytest)"
	@echo "make lint   ruff, mypy strict, import contracts, file and function sizes"
	@echo "make bench  measure the lane against its limit and a naive loop, the shared prefix, decoding"
	@echo "make bench-sql  fill an own Postgres with 10 million verdicts; measure queries, inserts, retention"
	@echo "make study  leave-one-family-out study of docs/detectors.md from STUDY_DATA (CHECK=1: compare only)"
	@echo "make audit-deps  look up the pinned dependencies in PyPI's database of vulnerabilities (AUDIT_ARGS)"
	@echo "make fuzz   fuzz the event parser and the decoder, FUZZ_SECONDS (300) each"
	@echo "make lock   compile requirements/*.txt again from pyproject.toml"
	@echo "make clean  remove environments and outputs"

env: $(LEAN)/.ready
dev: $(DEV)/.ready

$(LEAN)/.ready: requirements/lean.txt pyproject.toml
	$(PYTHON) deploy/bootstrap.py $(LEAN) $(UV_VERSION) requirements/lean.txt
	@touch "$@"

$(DEV)/.ready: requirements/dev.txt pyproject.toml
	$(PYTHON) deploy/bootstrap.py $(DEV) $(UV_VERSION) requirements/dev.txt
	@touch "$@"

demo: env
	$(LEAN)/bin/pixassay demo $(DEMO_ARGS)

lint: dev
	$(DEV)/bin/ruff check .
	$(DEV)/bin/ruff format --check .
	$(DEV)/bin/mypy
	$(DEV)/bin/lint-imports
	$(DEV)/bin/python -m tests.sizes

# Two processes: most of the time goes into waiting for servers.
test: lint
	$(DEV)/bin/python -m pytest --numprocesses 2 --dist loadfile $(TEST_ARGS)

unit: dev
	$(DEV)/bin/python -m pytest tests/unit $(TEST_ARGS)

bench: dev
	$(DEV)/bin/pixassay bench $(BENCH_ARGS)

# 8 GB on disk below the folder for temporary files. Smaller: BENCH_SQL_ARGS="--rows 100000".
bench-sql: dev
	$(DEV)/bin/python -m tests.bench_sql $(BENCH_SQL_ARGS)

STUDY_DATA ?= ../shared/data
# Goes on where it was cut off. With CHECK=1 a run of its own is held against the documented intervals.
study: dev
	OMP_NUM_THREADS=1 $(DEV)/bin/python -m models.study --data $(STUDY_DATA) $(if $(CHECK),--check --out runs/study-check) $(STUDY_ARGS)

COMPILE := uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-annotate --no-header

lock: env
	PATH="$(CURDIR)/$(LEAN)/bin:$$PATH"; \
	$(COMPILE) pyproject.toml --extra embedded -o requirements/lean.txt; \
	$(COMPILE) pyproject.toml --extra embedded --extra train -o requirements/train.txt; \
	$(COMPILE) pyproject.toml -o requirements/worker.txt; \
	$(COMPILE) pyproject.toml --extra gpu -o requirements/gpu.txt; \
	$(COMPILE) pyproject.toml --extra embedded --extra train --extra check --extra otel --group dev -o requirements/dev.txt; \
	echo "hatchling editables" | tr " " "\n" | $(COMPILE) - -o requirements/build.txt

audit-deps: dev
	$(DEV)/bin/python -m deploy.audit_deps $(AUDIT_ARGS)

FUZZ_SECONDS ?= 300
fuzz: dev
	$(DEV)/bin/python -m tests.fuzz --target events --seconds $(FUZZ_SECONDS)
	$(DEV)/bin/python -m tests.fuzz --target decode --seconds $(FUZZ_SECONDS)

clean:
	rm -rf $(LEAN) $(DEV) demo-output bench-output .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
