# Everything runs through the virtual environment that `make setup` builds; `make setup PYTHON=...` picks its Python.
.DEFAULT_GOAL := help
.PHONY: help setup eval test test-all bench docs check format clean distclean

BIN := .venv/bin

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## make .venv with pinned packages, and software Vulkan without a GPU; does nothing when all is there
	@PYTHON="$(PYTHON)" scripts/setup.sh

# A folder of its own for every run: a run refuses to go on in a folder that other code has begun.
eval: setup ## score the scripted expert on all rows, 8 episodes each
	$(BIN)/vlagen-eval --policy expert --episodes 8 --workers 2 --out runs/eval-$$(date +%Y%m%d-%H%M%S)

test: setup ## run the tests that every machine can run
	$(BIN)/python -m pytest

# Exit code 5 means that no test carries these markers, which is no failure.
test-all: setup ## run the tests that take long, or need a GPU or weights (they skip where these are absent)
	$(BIN)/python -m pytest -m "(slow or gpu or weights) and not perf" || [ $$? -eq 5 ]

bench: setup ## measure speed; wants a quiet machine
	$(BIN)/python -m pytest tests/perf tests/leaderboard -m perf -s

docs: setup ## build the documentation site into site/
	$(BIN)/python -m pip install -q -c constraints.txt -e '.[docs]'
	$(BIN)/mkdocs build --strict

check: setup ## lint, and check the format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: setup ## mend what check can mend by itself
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## remove caches and build outputs
	rm -rf build dist *.egg-info .pytest_cache .ruff_cache .hypothesis
	find . -path ./.venv -prune -o -type d -name __pycache__ -exec rm -rf {} +

distclean: clean ## also remove .venv
	rm -rf .venv
