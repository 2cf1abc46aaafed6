# resnet-repro: one target per experiment. `make help` lists them.

# ---- settings: each is a flag of the console script, PROFILE=paper is --profile paper ----------------------------
BUDGET := PROFILE ITERATIONS PREFIX
FOLDERS := RUNS_DIR REPORTS_DIR
VARIABLES := $(BUDGET) SEEDS ARMS DATASET DATA_DIR DATA_MIRROR $(FOLDERS) EXECUTOR DEVICES SLOTS RETRIES THREADS \
	GPU_SHARE GPUS NODES PARTITION ACCOUNT TIME SIGNAL_SECONDS SBATCH SETUP PRECISION CHECKPOINT_SECONDS WANDB_MODE \
	RESOLUTION WEIGHTS WORKERS BROKEN

# These two may begin with dashes themselves, and so need =.
flag = $(if $($(1)),--$(shell echo $(1) | tr A-Z_ a-z-)$(if $(filter SBATCH SETUP,$(1)),=, )'$($(1))')
flags = $(strip $(foreach name,$(1),$(call flag,$(name))))
FLAGS = $(strip $(call flags,$(VARIABLES)) $(if $(filter-out 0,$(DRY_RUN)),--dry-run))
OF_REFERENCE = --every-budget --runs-dir reports/reference --reports-dir reports/reference

# ---- environment: an active virtual or conda environment (other than conda's base), else .venv -------------------
PYTHON ?= python3
ACTIVE := $(or $(VIRTUAL_ENV),$(if $(filter-out base,$(CONDA_DEFAULT_ENV)),$(CONDA_PREFIX)))
ENVIRONMENT := $(or $(ACTIVE),.venv)
BIN := $(ENVIRONMENT)/bin
READY := $(ENVIRONMENT)/.resnet-repro-ready
REPRO := $(BIN)/resnet-repro
LOCKED := --quiet --disable-pip-version-check --constraint constraints.txt

EXPERIMENTS := $(subst _,-,$(notdir $(basename $(wildcard experiments/[a-z]*.py))))

.DEFAULT_GOAL := help
.PHONY: help setup setup-ray lock $(EXPERIMENTS) report status sync curves list test test-fast test-cluster test-gpu \
	test-faults lint benchmark benchmark-gpu clean

help: ## list the targets (at once)
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Variables, as in make depth PROFILE=paper SEEDS=0-4; resnet-repro run --help says what each takes:"
	@echo $(VARIABLES) DRY_RUN | fold -s -w 110 | sed 's/^/  /'

setup: $(READY) ## install the pinned dependencies (once; some minutes, several GB with CUDA)

$(READY): pyproject.toml constraints.txt
	@$(if $(ACTIVE),$(ACTIVE)/bin/python,$(PYTHON)) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: name one, as in make PYTHON=python3.12" >&2; exit 2; }
	$(if $(ACTIVE),,test -x $(BIN)/python || $(PYTHON) -m venv $(ENVIRONMENT))
	@echo "installing the pinned dependencies into $(ENVIRONMENT), once: some minutes"
	$(BIN)/python -m pip install $(LOCKED) --editable '.[dev]'
	@touch $@

setup-ray: $(READY) ## install Ray as well, for EXECUTOR=ray (a minute)
	$(BIN)/python -m pip install $(LOCKED) --editable '.[dev,ray]'

# Not after $(READY): pip refuses an environment whose new pins the old lock contradicts.
lock: ## update constraints.txt after an edit of pyproject.toml (seconds); UPGRADE=1 renews every version
	test -x $(BIN)/python || $(PYTHON) -m venv $(ENVIRONMENT)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check '$(shell grep -o 'uv==[0-9.]*' pyproject.toml)'
	$(BIN)/uv pip compile pyproject.toml --quiet --all-extras --universal --python-version 3.11 --annotation-style line \
		--custom-compile-command 'make lock' --output-file constraints.txt $(if $(filter-out 0,$(UPGRADE)),--upgrade)

$(EXPERIMENTS): $(READY)
	$(REPRO) run $@ $(FLAGS)

degradation: ## plain-20/56 against resnet-20/56 (quick: 8 minutes on two CPU cores)
depth: ## ResNet-20 to 110, and a stretch of 1202 (quick: 12 minutes)
block: ## original, pre-activation and plain blocks, BN that never ran and BN that does (quick: 21 minutes)
shortcuts: ## options A, B, C, and shortcuts around single layers (quick: 15 minutes)
normalization: ## none, batch, layer, instance, group, at batch 128 and 4 (quick: 26 minutes)
construction: ## the deeper net built from the shallower one, and trained on (quick: 38 minutes)
features: ## what the layers of degradation's nets hold (quick: 14 minutes)
complexity: ## what LeNet to ResNet-152 cost, counted layer by layer (half a minute, no data)
mnist: ## perceptron, CNN, LeNet, as a post wrote them and corrected (9 minutes)
fashion: ## bottleneck ResNet-50, narrow and wide, against a VGG (quick: 20 minutes)
auxiliary: ## GoogLeNet's auxiliary heads, without batch normalization (quick: 15 minutes)
activation: ## ReLU, tanh, sigmoid, dropout, each at a rate found for it (quick: 17 minutes)
plain-vs-resnet: ## plain-18/34 against ResNet-18/34, ImageNet's or your class folders (quick: 21 minutes)
transfer: ## ResNet-34 frozen or fine-tuned, also on your class folders (quick: 35 minutes)

report: $(READY) ## remake the reports from the records, without training (seconds to a minute); of the committed ones: REFERENCE=1
	$(REPRO) report $(if $(filter-out 0,$(REFERENCE)),$(OF_REFERENCE),$(call flags,$(BUDGET) DATASET RESOLUTION $(FOLDERS)))

status: $(READY) ## what has run, runs, is missing or failed (at once)
	@$(REPRO) status $(call flag,RUNS_DIR)

sync: $(READY) ## upload the runs that Weights & Biases does not have yet (seconds per run)
	$(REPRO) sync $(call flag,RUNS_DIR)

curves: $(READY) ## show curves recorded offline by Weights & Biases in the terminal (at once)
	WANDB_ERROR_REPORTING=false $(BIN)/wandb leet $(or $(RUNS_DIR),runs)/wandb

list: $(READY) ## list the experiments (at once)
	@$(REPRO) list

test: $(READY) ## run the tests (4 minutes on two cores)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-fast: $(READY) ## the tests that train nothing and write no whole report (under a minute)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not cluster and not gpu"

test-cluster: $(READY) ## the tests of Ray and Slurm, where these are installed (15 minutes)
	$(BIN)/python -m pytest -m cluster tests/integration -v

test-gpu: $(READY) ## the CUDA path against the CPU's numbers (3 minutes; skipped where there is no GPU)
	$(BIN)/python -m pytest -m gpu tests/training/test_gpu.py -v

test-faults: $(READY) ## 100 kills and full disks at random moments of an experiment (20 minutes)
	$(BIN)/python benchmarks/faults.py

lint: $(READY) ## style, spelling, types, and who imports whom (under a minute)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

benchmark: $(READY) ## on the CPU: speed of training, of the input pipeline, what executors add (45 minutes, machine quiet)
	$(BIN)/python benchmarks/input_pipeline.py
	$(BIN)/python benchmarks/throughput.py $(call flags,DATA_DIR DATA_MIRROR)
	$(BIN)/python benchmarks/executors.py

benchmark-gpu: $(READY) ## a step, one run and several at once on a GPU, with and without MPS, and compiling (5 minutes)
	$(BIN)/python benchmarks/gpu.py $(call flags,DATASET DATA_DIR)

clean: ## delete the environment (.venv); runs, reports and data stay
	rm -rf .venv
