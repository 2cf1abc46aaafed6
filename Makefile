# resnet-repro: one target per experiment. `make help` lists them.

# ---- settings: each is a flag of the console script, PROFILE=paper is --profile paper ----------------------------
BUDGET := PROFILE ITERATIONS PREFIX
FOLDERS := RUNS_DIR REPORTS_DIR
VARIABLES := $(BUDGET) SEEDS ARMS DATASET DATA_DIR DATA_MIRROR $(FOLDERS) EXECUTOR DEVICES SLOTS RETRIES THREADS \
	GPU_SHARE GPUS NODES PARTITION ACCOUNT TIME SIGNAL_SECONDS SBATCH SETUP PRECISION CHECKPOINT_SECONDS WANDB_MODE \
	RESOLUTION WEIGHTS WORKERS BROKEN
OF_NETWORKS := NET SCALING FOLDER
SWITCHES := DRY_RUN PLAN REFERENCE REGISTER UPGRADE PRUNE YES TRAIN

# Values come from the command line of make and are taken as they are typed. Shells and job systems export names such as TIME
# or SETUP for purposes of their own, so variables of the environment do not count; the console script itself reads DATA_MIRROR
# and WANDB_MODE there.
define newline


endef
foreign = $(if $(filter override,$(origin $(1))),,$(filter environment undefined default,$(origin $(1))))
given = $(strip $(foreach name,$(1),$(if $(call foreign,$(name)),,$(if $(value $(name)),$(name)))))
is_on = $(filter-out 0,$(if $(call given,$(1)),$(value $(1))))
quoted = '$(subst ','\'',$(1))'
# A line of a recipe ends at a line break, so a value with one is read from the environment of the recipe.
is_long = $(findstring $(newline),$(value $(1)))
text = $(if $(call is_long,$(1)),"$$$(1)",$(call quoted,$(value $(1))))
$(foreach name,$(call given,$(VARIABLES) $(OF_NETWORKS)),$(eval override $(name) := $$(value $(name)))\
	$(if $(call is_long,$(name)),$(eval export $(name))))

# These two, and values that begin with a dash, need =.
equals = $(if $(filter SBATCH SETUP,$(1))$(filter -%,$(firstword $(value $(1)))),=, )
flag = --$(shell echo $(1) | tr A-Z_ a-z-)$(call equals,$(1))$(call text,$(1))
positional = $(if $(call given,$(1)),$(call text,$(1)))
flags = $(foreach name,$(call given,$(1)),$(call flag,$(name)))
FLAGS = $(call flags,$(VARIABLES))$(if $(call is_on,DRY_RUN), --dry-run)$(if $(call is_on,PLAN), --plan)
PAGES := README.md README.ko.md reports/README.md docs/why.md $(sort $(wildcard docs/lessons/*.md))
OF_REFERENCE = --every-budget --runs-dir reports/reference --reports-dir reports/reference --checklist REPRODUCIBILITY.md \
	--pages $(PAGES)
IGNORED := $(strip $(foreach name,$(filter-out DATA_MIRROR WANDB_MODE,$(VARIABLES)) $(OF_NETWORKS) $(SWITCHES),\
	$(if $(filter environment,$(call foreign,$(name))),$(name))))
say_ignored = $(if $(IGNORED),@echo "not taken from the environment: $(IGNORED); give them to make as in make depth SEEDS=0-4" >&2)

# ---- environment: an active virtual or conda environment (other than conda's base), else .venv -------------------
PYTHON ?= python3
IS_CONDA := $(if $(value CONDA_DEFAULT_ENV),$(if $(filter base,$(value CONDA_DEFAULT_ENV)),,$(value CONDA_PREFIX)))
ACTIVE := $(if $(value VIRTUAL_ENV),VIRTUAL_ENV,$(if $(IS_CONDA),CONDA_PREFIX))
# Relative where possible, so that the working directory may have any name.
ENVIRONMENT := $(if $(ACTIVE),$(call quoted,$(value $(ACTIVE))),.venv)
BIN := $(ENVIRONMENT)/bin
STAMP := $(ENVIRONMENT)/.resnet-repro-ready
IS_READY := $(shell test -x $(BIN)/python && test -e $(STAMP) \
	&& test -z "$$(find pyproject.toml constraints.txt -newer $(STAMP))" && echo yes)
READY := $(if $(IS_READY),,environment)
REPRO := $(BIN)/resnet-repro
LOCKED := --quiet --disable-pip-version-check --constraint constraints.txt

EXPERIMENTS := $(subst _,-,$(notdir $(basename $(wildcard experiments/[a-z]*.py))))

.DEFAULT_GOAL := help
.PHONY: help setup setup-ray lock $(EXPERIMENTS) check report evaluate export weights claims status runs sync curves list test test-fast test-cluster \
	test-gpu test-faults lint benchmark benchmark-gpu clean
.PHONY: environment

help: ## list the targets (at once)
	@awk -F ':.*## ' '/^[a-z][a-z-]*:.*## /{printf "  make %-15s %s\n", $$1, $$2}' $(MAKEFILE_LIST)
	@echo "Variables, e.g. make depth PROFILE=paper SEEDS=0-4, with PLAN=1 to see first what would run and how long;"
	@echo "resnet-repro run --help describes them:"
	@echo $(VARIABLES) DRY_RUN PLAN | fold -s -w 110 | sed 's/^/  /'

setup: $(READY) ## install the pinned dependencies (once; some minutes, several GB with CUDA)

# Looks for what may be missing, each with a sentence: $name is the variable that names the environment, if one is active.
define CHECK_PYTHON
name=$(ACTIVE); place=$(call quoted,$(value $(or $(ACTIVE),PYTHON))); \
refuse() { echo "$$*" >&2; exit 2; }; \
case "$$name" in \
	VIRTUAL_ENV) python="$$place/bin/python"; place="VIRTUAL_ENV=$$place"; remedy="run deactivate, or unset VIRTUAL_ENV";; \
	CONDA_PREFIX) python="$$place/bin/python"; place="CONDA_PREFIX=$$place"; remedy="run conda deactivate, or conda install python";; \
	*) python="$$place"; place="PYTHON=$$place"; remedy="name another one, as in make PYTHON=python3.12"; \
		if test -x .venv/bin/python; then python=.venv/bin/python; place=.venv; remedy="run make clean"; fi;; \
esac; \
command -v "$$python" >/dev/null 2>&1 || refuse "$$place: no Python is found there; $$remedy"; \
version=$$("$$python" -c 'import sys; print("%d.%d" % sys.version_info[:2])' 2>&1) \
	|| refuse "$$place: its Python cannot be started ($$(echo "$$version" | tail -n 1)); $$remedy"; \
version=$$(echo "$$version" | tail -n 1); \
case "$$version" in 2.*|3.[0-9]|3.10) refuse "$$place is Python $$version, and 3.11 or newer is needed: $$remedy";; esac; \
case "$$place" in PYTHON=*) ;; *) "$$python" -P -m pip --version >/dev/null 2>&1 \
	|| refuse "$$place has no pip: run $$python -m ensurepip, or $$remedy";; esac
endef

environment:
	@$(CHECK_PYTHON)
	$(if $(ACTIVE),,test -x $(BIN)/python || $(call quoted,$(value PYTHON)) -P -m venv .venv)
	@echo installing the pinned dependencies into $(ENVIRONMENT), once: some minutes
	$(BIN)/python -P -m pip install $(LOCKED) --editable '.[dev]'
	@touch $(STAMP)

setup-ray: $(READY) ## install Ray as well, for EXECUTOR=ray (a minute)
	$(BIN)/python -P -m pip install $(LOCKED) --editable '.[dev,ray]'

# Not after $(READY): pip refuses an environment whose new pins the old lock contradicts.
lock: ## update constraints.txt after an edit of pyproject.toml (seconds); UPGRADE=1 renews every version
	@$(CHECK_PYTHON)
	$(if $(ACTIVE),,test -x $(BIN)/python || $(call quoted,$(value PYTHON)) -P -m venv .venv)
	$(BIN)/python -P -m pip install --quiet --disable-pip-version-check '$(shell grep -o 'uv==[0-9.]*' pyproject.toml)'
	$(BIN)/uv pip compile pyproject.toml --quiet --all-extras --universal --python-version 3.11 --annotation-style line \
		--custom-compile-command 'make lock' --output-file constraints.txt $(if $(call is_on,UPGRADE),--upgrade)

$(EXPERIMENTS): $(READY)
	$(say_ignored)
	$(REPRO) run $@ $(FLAGS)

degradation: ## compare plain-20/56 with resnet-20/56 (quick: 8 minutes on two CPU cores)
depth: ## train ResNet-20 to 110, and 1202 for some steps (quick: 12 minutes)
block: ## compare original, pre-activation and plain blocks, with batch normalization that works or never ran (quick: 21 minutes)
shortcuts: ## compare shortcuts A, B and C, and shortcuts around single layers (quick: 15 minutes)
normalization: ## compare kinds of normalization, at their best rates and with random moments (quick: 12 minutes)
construction: ## build a deeper net from a trained shallow one, and continue training (quick: 23 minutes)
features: ## measure what layers of plain and residual nets represent, and what a block is worth (quick: 20 minutes)
gradients: ## measure how gradients grow from layer to layer, and whether those of different images agree (quick: 10 minutes)
rates: ## compare plain and residual nets at four learning rates, with a warm-up, and each at its best rate (quick: 20 minutes)
beginnings: ## begin deep plain nets as the identity, orthogonally or built, and residual nets with weak blocks (quick: 20 minutes)
identity: ## fit plain and residual stacks to their own input, perturbed and permuted (quick: 16 minutes)
complexity: ## count the cost of LeNet to ResNet-152, layer by layer (half a minute, no data)
mnist: ## compare perceptron, CNN and LeNet, as published in a post and corrected (11 minutes)
fashion: ## compare bottleneck ResNets with few and many blocks with a VGG (quick: 20 minutes)
auxiliary: ## test GoogLeNet's auxiliary heads, without batch normalization (quick: 15 minutes)
activation: ## compare ReLU, tanh, sigmoid and dropout, each at its best learning rate (quick: 20 minutes)
plain-vs-resnet: ## compare plain-18/34 with ResNet-18/34, on ImageNet or your class folders (quick: 21 minutes)
transfer: ## freeze or fine-tune ResNet-34, on CIFAR-100 or your class folders (quick: 35 minutes)

check: $(READY) ## check that this machine computes rightly and has what runs need (under 20 seconds)
	$(say_ignored)
	@$(REPRO) check $(call flags,DEVICES DATA_DIR DATA_MIRROR RUNS_DIR WANDB_MODE)

report: $(READY) ## write the reports again from the records (seconds to a minute); REFERENCE=1: those of the reference runs, and the README
	$(say_ignored)
	$(REPRO) report $(if $(call is_on,REFERENCE),$(OF_REFERENCE),$(call flags,$(BUDGET) DATASET RESOLUTION $(FOLDERS)))

evaluate: $(READY) ## score trained weights, also of others: NET=resnet-20 WEIGHTS=resnet20.th SCALING=imagenet (seconds to minutes)
	$(say_ignored)
	@$(REPRO) evaluate $(call flags,WEIGHTS DATASET SCALING PRECISION DEVICES WORKERS BROKEN DATA_DIR DATA_MIRROR) \
		$(if $(call is_on,TRAIN),--train) -- $(call positional,NET)

export: $(READY) ## write a trained network for the Hugging Face Hub: NET=resnet-20 FOLDER=out/resnet-20 (seconds)
	$(say_ignored)
	@$(REPRO) export $(call flags,DATASET DATA_DIR DATA_MIRROR) -- $(call positional,NET) $(call positional,FOLDER)

weights: $(READY) ## choose the weights of the folder weights/ from runs with reference records (seconds)
	$(say_ignored)
	@$(REPRO) pick-weights $(call flags,RUNS_DIR)

claims: $(READY) ## show every claim and what tests it (at once); REGISTER=1 adds new and changed ones to the history
	$(say_ignored)
	@$(REPRO) claims $(if $(call is_on,REGISTER),--register)

status: $(READY) ## show which runs have finished, run, are missing or failed (at once)
	$(say_ignored)
	@$(REPRO) status $(call flags,RUNS_DIR)

runs: $(READY) ## show the disk space of runs (at once); PRUNE=1 lists what no report needs, PRUNE=1 YES=1 deletes it
	$(say_ignored)
	@$(REPRO) runs $(if $(call is_on,PRUNE),--prune )$(if $(call is_on,YES),--yes )$(call flags,RUNS_DIR)

sync: $(READY) ## upload the runs that Weights & Biases does not have yet (seconds per run)
	$(say_ignored)
	$(REPRO) sync $(call flags,RUNS_DIR)

curves: $(READY) ## show curves recorded offline by Weights & Biases in the terminal (at once)
	WANDB_ERROR_REPORTING=false $(BIN)/wandb leet $(if $(call given,RUNS_DIR),$(call text,RUNS_DIR),runs)/wandb

list: $(READY) ## list the experiments (at once)
	@$(REPRO) list

test: $(READY) ## run the tests (8 minutes on two cores)
	$(BIN)/python -m pytest -n 2 --dist loadfile

test-fast: $(READY) ## run the tests that train nothing and write no whole report (a minute)
	$(BIN)/python -m pytest -n 2 --dist loadfile -m "not slow and not cluster and not gpu"

test-cluster: $(READY) ## run the tests of Ray and Slurm, if installed (15 minutes)
	$(BIN)/python -m pytest -m cluster tests/integration -v

test-gpu: $(READY) ## compare the CUDA path with the CPU (3 minutes; skipped without a GPU)
	$(BIN)/python -m pytest -m gpu tests/training/test_gpu.py -v

test-faults: $(READY) ## kill an experiment, or fill its disk, at 100 random moments (about an hour)
	$(BIN)/python benchmarks/faults.py

lint: $(READY) ## check style, spelling, types and imports (under a minute)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports

benchmark: $(READY) ## measure training, input pipeline and executors on the CPU (45 minutes on a quiet machine)
	$(BIN)/python benchmarks/input_pipeline.py
	$(BIN)/python benchmarks/throughput.py $(call flags,DATA_DIR DATA_MIRROR)
	$(BIN)/python benchmarks/executors.py

benchmark-gpu: $(READY) ## measure steps, shared GPUs and compilation on a GPU (5 minutes)
	$(BIN)/python benchmarks/gpu.py $(call flags,DATASET DATA_DIR)

clean: ## delete the environment (.venv); keep runs, reports and data
	rm -rf .venv
