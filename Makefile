# make run    the dashboard, on the demo study
# make test   every test
# make test-gpu   the tests of models and training on a GPU; LAYERSHIFT_TEST_DEVICE=cuda:1 or mps names another
# make fuzz   broken study files, data files, configs, weights' headers, names and addresses: 10,000 cases each (an hour)
# make check  ruff, pyright, import-linter, pip-audit
# make bench  the benchmarks
# make screenshots   the pictures in docs/
# make calibrate   how often intervals and chance levels are right, into docs/intervals.md (long)
# make families   every supported class against plain transformers, into docs/families.md (minutes)
# make index  the table of analyses in docs/README.md
# make cluster   a Ray cluster on this machine, to try LAYERSHIFT_RAY=auto with
# make demo   rebuild the demo study; DATA=folder with IMDB's train.parquet, else from the hub
# make results   compute what the demo's pages show first; needed after a change of what computes them
#
# All that is needed is Python 3.11 or newer; the rest goes into .venv. Settings:
#   PYTHON=python3.11   PORT=8501   ADDRESS=127.0.0.1   ARGS='more arguments for test, bench and demo'
#   PATHS=/data:/home/me (folders that the form "Add a study" may open; all of them while only this machine is served)
#   WORKERS=3 (processes of make test; one more than cores, because browser tests wait)
#   TORCH_INDEX=https://download.pytorch.org/whl/cpu (another package index to look for torch in)

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:
.PHONY: help run test test-gpu fuzz check cluster bench calibrate families index screenshots demo results environment clean

VENV := .venv
BIN := $(VENV)/bin
PORT ?= 8501
ADDRESS ?= 127.0.0.1
TORCH_INDEX ?=
# Containers often set it; then every start compiles every module again, which takes seconds.
unexport PYTHONDONTWRITEBYTECODE
PATHS ?= $(or $(LAYERSHIFT_PATHS),$(if $(filter 127.0.0.1 localhost ::1,$(ADDRESS)),/))
DATA ?=
WORKERS ?= 3
ARGS ?=
IS_NEW_ENOUGH := import sys; sys.exit(sys.version_info < (3, 11))
PYTHON ?= $(shell for p in python3.11 python3; do $$p -c '$(IS_NEW_ENOUGH)' 2>/dev/null && { echo $$p; break; }; done)
INSTALL = $(BIN)/python -m pip install --disable-pip-version-check --no-compile $(if $(TORCH_INDEX),--extra-index-url $(TORCH_INDEX))
HAS_DISPLAY := $(DISPLAY)$(WAYLAND_DISPLAY)$(filter Darwin,$(shell uname))

help:
	@sed -n 's/^# //p' Makefile

run: $(VENV)/.runtime
	LAYERSHIFT_PATHS="$(PATHS)" $(BIN)/python -m streamlit run app.py --server.port $(PORT) --server.address $(ADDRESS) \
		--server.headless $(if $(HAS_DISPLAY),false,true)

test: $(VENV)/.development
	$(BIN)/python -m pytest -n $(WORKERS) --dist loadfile --no-loadscope-reorder $(ARGS)

test-gpu: $(VENV)/.development
	LAYERSHIFT_TEST_DEVICE=$(or $(LAYERSHIFT_TEST_DEVICE),cuda) \
		$(BIN)/python -m pytest tests/models tests/training tests/lab tests/analyses/test_review.py \
		tests/reports/test_export.py $(ARGS)

fuzz: $(VENV)/.development
	$(BIN)/python -m tests.fuzz $(ARGS)

check: $(VENV)/.development
	$(BIN)/python -m ruff check
	$(BIN)/python -m ruff format --check
	PATH="$(CURDIR)/$(BIN):$$PATH" $(BIN)/python -m pyright
	$(BIN)/python $(BIN)/lint-imports
	.ci/audit

bench: $(VENV)/.development
	$(BIN)/python -m benchmarks $(ARGS)

calibrate: $(VENV)/.development
	$(BIN)/python -m benchmarks.intervals --into docs/intervals.md $(ARGS)

families: $(VENV)/.development
	$(BIN)/python -m docs.families

index:
	$(PYTHON) -m docs.index

screenshots: $(VENV)/.development
	$(BIN)/python -m docs.screenshots $(ARGS)

cluster: $(VENV)/.runtime
	$(INSTALL) --quiet -r requirements-cluster.txt
	RAY_USAGE_STATS_ENABLED=0 $(BIN)/ray start --head --node-ip-address=127.0.0.1 --include-dashboard=false --disable-usage-stats
	@echo "Compute on it with LAYERSHIFT_RAY=auto; end it with: $(BIN)/ray stop"

demo: $(VENV)/.runtime
	$(BIN)/python -m backend.training.demo $(if $(DATA),--data $(DATA)) $(ARGS)
	$(BIN)/python -m pages.frame.first_views

results: $(VENV)/.runtime
	$(BIN)/python -m pages.frame.first_views $(ARGS)

environment: $(VENV)/.development

clean:
	rm -rf $(VENV) .pytest_cache .ruff_cache .hypothesis .import_linter_cache

$(VENV)/.created:
	@test -n "$(PYTHON)" || { echo "Layershift needs Python 3.11 or newer; install it, or name it with PYTHON=..." >&2; exit 2; }
	$(PYTHON) -m venv --clear $(VENV)
	@touch $@

$(VENV)/.runtime: requirements.txt | $(VENV)/.created
	@echo "Installing requirements.txt into $(VENV) (a few minutes, once)"
	$(INSTALL) $(if $(CI),--quiet) -r requirements.txt
	@touch $@

$(VENV)/.development: requirements-dev.txt requirements-cluster.txt $(VENV)/.runtime
	@echo "Installing requirements-dev.txt into $(VENV)"
	$(INSTALL) --quiet -r requirements-dev.txt
	@touch $@
