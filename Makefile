# The commands of this project. `make` alone lists them.

RECIPE ?= fashion
RUN ?= runs/latest
VENV := .venv
BIN := $(VENV)/bin

.DEFAULT_GOAL := help
.PHONY: help setup data train tune export verify predict bench lint test test-slow support clean

help: ## List these targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  \1\t\2/' | expand -t 14

setup: $(VENV)/.installed ## Make .venv from the lock

$(VENV)/.installed: requirements.lock pyproject.toml tools/setup.sh
	@sh tools/setup.sh $(VENV)

data: setup ## Prepare Fashion-MNIST
	@$(BIN)/convoy data fashion_mnist

train: setup ## Train, export and prove a recipe (RECIPE=fashion)
	@$(BIN)/convoy train $(RECIPE)

tune: setup ## Search for a better recipe (RECIPE=fashion)
	@$(BIN)/convoy tune $(RECIPE)

export: setup ## Write a run's bundle again (RUN=runs/latest)
	@$(BIN)/convoy export $(RUN)

verify: setup ## Prove a run's bundle again (RUN=runs/latest)
	@$(BIN)/convoy verify $(RUN)

predict: setup ## Answer for images: make predict FILES="a.png b.png"
	@$(BIN)/convoy predict $(RUN)/bundle $(FILES)

bench: setup ## Measure on this machine, side by side with peers
	@$(BIN)/convoy bench edge $(RUN)/bundle

lint: setup ## Format, style, types and import rules
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/basedpyright
	$(BIN)/lint-imports

test: setup data ## Every fast test
	$(BIN)/pytest -n 2 --dist loadfile -m "not slow"

test-slow: setup data ## Kills, fresh environments, damaged files
	$(BIN)/pytest -n 2 --dist loadfile -m slow

support: setup ## Write docs/support.md from the conformance tests
	$(BIN)/pytest -n 2 --dist loadfile --write-support tests/models/test_layer_conformance.py tests/models/test_network_conformance.py

clean: ## Remove caches; data and runs stay
	rm -rf .pytest_cache .ruff_cache .hypothesis build *.egg-info
	find . -name __pycache__ -type d -not -path './$(VENV)/*' -prune -exec rm -rf {} +
