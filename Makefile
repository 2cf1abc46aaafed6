# resnet-repro: one target per experiment. `make help` lists them.

# ---- settings: each is also a flag of the console script, e.g. PROFILE=paper is --profile paper -----------------
PROFILE ?=
SEEDS ?=
ITERATIONS ?=
PREFIX ?=
ARMS ?=
DATASET ?=
DATA_DIR ?=
DATA_MIRROR ?=
RUNS_DIR ?=
REPORTS_DIR ?=
DEVICES ?=
SLOTS ?=
PRECISION ?=
CHECKPOINT_SECONDS ?=
WANDB_MODE ?=
RESOLUTION ?=
WEIGHTS ?=
WORKERS ?=
BROKEN ?=
EXECUTOR ?=
RETRIES ?=
THREADS ?=
GPU_SHARE ?=
GPUS ?=
NODES ?=
PARTITION ?=
ACCOUNT ?=
TIME ?=
SIGNAL_SECONDS ?=
SBATCH ?=
SETUP ?=
DRY_RUN ?=
REFERENCE ?=

flag = $(if $($(1)),--$(2) '$($(1))')
LAUNCH = $(call flag,EXECUTOR,executor) $(call flag,DEVICES,devices) $(call flag,SLOTS,slots) \
	$(call flag,RETRIES,retries) $(call flag,THREADS,threads) $(call flag,GPU_SHARE,gpu-share) $(call flag,GPUS,gpus) \
	$(call flag,NODES,nodes) $(call flag,PARTITION,partition) $(call flag,ACCOUNT,account) $(call flag,TIME,time) \
	$(call flag,SIGNAL_SECONDS,signal-seconds) $(if $(SBATCH),--sbatch='$(SBATCH)') $(if $(SETUP),--setup='$(SETUP)') \
	$(if $(filter-out 0,$(DRY_RUN)),--dry-run)
BUDGET = $(call flag,PROFILE,profile) $(call flag,ITERATIONS,iterations) $(call flag,PREFIX,prefix)
OF_REFERENCE = --every-budget --claims-in README.md --runs-dir reports/reference --reports-dir reports/reference
FOLDERS = $(call flag,RUNS_DIR,runs-dir) $(call flag,REPORTS_DIR,reports-dir)
FLAGS = $(strip $(BUDGET) $(call flag,SEEDS,seeds) $(call flag,ARMS,arms) $(call flag,DATASET,dataset) \
	$(call flag,DATA_DIR,data-dir) $(call flag,DATA_MIRROR,data-mirror) $(FOLDERS) $(LAUNCH) \
	$(call flag,PRECISION,precision) $(call flag,CHECKPOINT_SECONDS,checkpoint-seconds) \
	$(call flag,WANDB_MODE,wandb-mode) $(call flag,RESOLUTION,resolution) $(call flag,WEIGHTS,weights) \
	$(call flag,WORKERS,workers) $(call flag,BROKEN,broken))

# ---- environment: an active virtual or conda environment (other than conda's base), else .venv -------------------
PYTHON ?= python3
ACTIVE := $(or $(VIRTUAL_ENV),$(if $(filter-out base,$(CONDA_DEFAULT_ENV)),$(CONDA_PREFIX)))
ENVIRONMENT := $(or $(ACTIVE),.venv)
BIN := $(ENVIRONMENT)/bin
READY := $(ENVIRONMENT)/.resnet-repro-ready
REPRO := $(BIN)/resnet-repro

.DEFAULT_GOAL := help
.PHONY: help setup degradation depth block shortcuts normalization construction features complexity mnist fashion \
	auxiliary activation plain-vs-resnet transfer report status sync list test lint benchmark setup-ray \
	test-cluster test-gpu benchmark-gpu clean

help: ## list the targets (at once)
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Variables: PROFILE=quick|paper SEEDS=0-4 ITERATIONS=2000 PREFIX=34000 ARMS=plain-20,plain-56 DATASET=cifar10 DATA_DIR= DATA_MIRROR="
	@echo "           RUNS_DIR= REPORTS_DIR= DEVICES= SLOTS= PRECISION= CHECKPOINT_SECONDS= WANDB_MODE=online|offline|disabled"
	@echo "           of plain-vs-resnet and transfer: DATASET=path/to/folders RESOLUTION=96 WEIGHTS=file WORKERS=8 BROKEN=stop|skip"
	@echo "           on a cluster: EXECUTOR=ray GPU_SHARE= THREADS= RETRIES=; EXECUTOR=slurm PARTITION= ACCOUNT= TIME= GPUS= NODES="
	@echo "           THREADS= SBATCH= SETUP= SIGNAL_SECONDS= RETRIES= DRY_RUN=1"

setup: $(READY) ## install the pinned dependencies (once; some minutes, several GB with CUDA)

$(READY): pyproject.toml
	@$(if $(ACTIVE),$(ACTIVE)/bin/python,$(PYTHON)) -c 'import sys; sys.exit(sys.version_info < (3, 11))' \
		|| { echo "Python 3.11 or newer is needed: name one, as in make PYTHON=python3.12" >&2; exit 2; }
	$(if $(ACTIVE),,test -x $(BIN)/python || $(PYTHON) -m venv $(ENVIRONMENT))
	@echo "installing the pinned dependencies into $(ENVIRONMENT), once: some minutes"
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev]'
	@touch $@

setup-ray: $(READY) ## install Ray as well, for EXECUTOR=ray (a minute)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[dev,ray]'

degradation: $(READY) ## plain-20/56 against resnet-20/56 (quick: 8 minutes on two CPU cores)
	$(REPRO) run degradation $(FLAGS)

depth: $(READY) ## ResNet-20 to 110, and a stretch of 1202 (quick: 12 minutes)
	$(REPRO) run depth $(FLAGS)

block: $(READY) ## original, pre-activation and plain blocks, BN that never ran and BN that does (quick: 21 minutes)
	$(REPRO) run block $(FLAGS)

shortcuts: $(READY) ## options A, B, C, and shortcuts around single layers (quick: 15 minutes)
	$(REPRO) run shortcuts $(FLAGS)

normalization: $(READY) ## none, batch, layer, instance, group, at batch 128 and 4 (quick: 26 minutes)
	$(REPRO) run normalization $(FLAGS)

construction: $(READY) ## the deeper net built from the shallower one, and trained on (quick: 38 minutes)
	$(REPRO) run construction $(FLAGS)

features: $(READY) ## what the layers of degradation's nets hold (quick: 14 minutes)
	$(REPRO) run features $(FLAGS)

complexity: $(READY) ## what LeNet to ResNet-152 cost, counted layer by layer (half a minute, no data)
	$(REPRO) run complexity $(FLAGS)

mnist: $(READY) ## perceptron, CNN, LeNet, as a post wrote them and corrected (9 minutes)
	$(REPRO) run mnist $(FLAGS)

fashion: $(READY) ## bottleneck ResNet-50, narrow and wide, against a VGG (quick: 20 minutes)
	$(REPRO) run fashion $(FLAGS)

auxiliary: $(READY) ## GoogLeNet's auxiliary heads, without batch normalization (quick: 15 minutes)
	$(REPRO) run auxiliary $(FLAGS)

activation: $(READY) ## ReLU, tanh, sigmoid, dropout, each at a rate found for it (quick: 17 minutes)
	$(REPRO) run activation $(FLAGS)

plain-vs-resnet: $(READY) ## plain-18/34 against ResNet-18/34, ImageNet's or your class folders (quick: 21 minutes)
	$(REPRO) run plain-vs-resnet $(FLAGS)

transfer: $(READY) ## ResNet-34 frozen or fine-tuned, also on your class folders (quick: 35 minutes)
	$(REPRO) run transfer $(FLAGS)

report: $(READY) ## remake the reports from the records, without training (seconds to a minute); of the committed ones: REFERENCE=1
	$(REPRO) report $(if $(filter-out 0,$(REFERENCE)),$(OF_REFERENCE),$(strip $(BUDGET) $(call flag,DATASET,dataset) \
		$(call flag,RESOLUTION,resolution) $(FOLDERS)))

status: $(READY) ## what has run, runs, is missing or failed (at once)
	@$(REPRO) status $(call flag,RUNS_DIR,runs-dir)

sync: $(READY) ## upload what Weights & Biases recorded offline (seconds a run)
	$(REPRO) sync $(call flag,RUNS_DIR,runs-dir)

list: $(READY) ## list the experiments (at once)
	@$(REPRO) list

test: $(READY) ## run the tests (4 minutes on two cores)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-cluster: $(READY) ## the tests of Ray and Slurm, where these are installed (15 minutes)
	$(BIN)/python -m pytest -m cluster tests/test_ray_cluster.py tests/test_slurm_cluster.py -v

test-gpu: $(READY) ## the CUDA path against the CPU's numbers (3 minutes; skipped where there is no GPU)
	$(BIN)/python -m pytest -m gpu tests/test_gpu.py -v

lint: $(READY) ## style, types, and who imports whom (under a minute)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

benchmark: $(READY) ## on the CPU: speed of training, of the input pipeline, what executors add (45 minutes, machine quiet)
	$(BIN)/python benchmarks/input_pipeline.py
	$(BIN)/python benchmarks/throughput.py $(strip $(call flag,DATA_DIR,data-dir) $(call flag,DATA_MIRROR,data-mirror))
	$(BIN)/python benchmarks/executors.py

benchmark-gpu: $(READY) ## a step, one run and several at once on a GPU, with and without MPS, and compiling (5 minutes)
	$(BIN)/python benchmarks/gpu.py $(strip $(call flag,DATASET,dataset) $(call flag,DATA_DIR,data-dir))

clean: ## delete the environment (.venv); runs, reports and data stay
	rm -rf .venv
