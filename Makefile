# `make demo` and `make test` need Python 3.11 or later and nothing else: .venv makes itself, and
# scripts/broker/ finds or starts a RabbitMQ.

BIN = .venv/bin
BROKER = $(BIN)/python -m scripts.broker --
# Of the whole run; a part of the tests (ARGS=...) is not held to it.
COVERAGE = --cov --cov-report=term:skip-covered --cov-fail-under=95

.PHONY: help install check test demo clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile | while IFS='	' read -r name text; do \
		printf '  make %-8s %s\n' "$$name" "$$text"; done

install: ## Make .venv (PYTHON=... names the interpreter)
	@PYTHON='$(PYTHON)' sh scripts/venv.sh

check: install ## Lint, format, types, and which way imports run
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports

test: install ## Run the tests against a broker (ARGS=... goes to pytest)
	@$(BROKER) $(BIN)/python -m pytest $(or $(ARGS),$(COVERAGE))

demo: install ## Run the example shop against a broker
	@$(BROKER) $(BIN)/python -m workers.demo $(ARGS)

clean: ## Remove .venv, caches and build artefacts
	@rm -rf .venv .venv.lock .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@rm -rf build dist *.egg-info .coverage .coverage.* htmlcov
	@find . -name .git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
