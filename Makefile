# `make demo` and `make test` need Python 3.11 or later and nothing else: .venv makes itself, the
# demo brings its broker along, and scripts/broker/ finds or starts a RabbitMQ for the tests.

BIN = .venv/bin
RABBITMQ = $(BIN)/python -m scripts.broker --
BROKER = embedded
WAYS_embedded = embedded
WAYS_rabbitmq = url,node,apt,docker
QUICK = not rabbitmq and not processes
RUN = $(BIN)/python -m coverage run -m pytest

.PHONY: help install check test quick demo bench clean

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

test: install ## Run all tests, those of RabbitMQ's part against one (ARGS=... goes to pytest)
ifdef ARGS
	@$(RABBITMQ) $(BIN)/python -m pytest $(ARGS)
else
	@$(BIN)/python -m scripts.amqp_tools
	@$(BIN)/python -m coverage erase
	@$(RUN) -n auto -m "$(QUICK)"
	@$(RABBITMQ) $(RUN) -m "not ($(QUICK))"
	@$(BIN)/python -m coverage combine -q
	@$(BIN)/python -m coverage report --skip-covered --fail-under=95
endif

quick: install ## Run the tests that need no RabbitMQ and no other process (ARGS=... goes to pytest)
	@$(BIN)/python -m scripts.amqp_tools
	@$(BIN)/python -m pytest -n auto -m "$(QUICK)" $(ARGS)

demo: install ## Run the example shop (BROKER=rabbitmq: on one instead of the embedded broker)
	@$(BIN)/python -m scripts.broker --ways $(or $(WAYS_$(BROKER)),$(BROKER)) -- \
		$(BIN)/python -m workers.demo $(ARGS)

bench: install ## Measure side by side with what a user would pick instead (ARGS=--quick)
	@$(RABBITMQ) $(BIN)/python -m bench $(ARGS)

clean: ## Remove .venv, caches and build artefacts
	@rm -rf .venv .venv.lock .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@rm -rf build dist *.egg-info .coverage .coverage.* htmlcov
	@find . -name .git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
