# `make demo` and `make test` need Python 3.11 or later and nothing else: .venv makes itself, the
# demo brings its broker along, and scripts/broker/ finds or starts a RabbitMQ for the tests.

BIN = .venv/bin
RABBITMQ =
WITH_RABBITMQ = $(BIN)/python -m scripts.broker $(if $(RABBITMQ),--ways $(RABBITMQ)) --
BROKER = embedded
CHAIN = shop
WAYS_embedded = embedded
WAYS_rabbitmq = url,node,apt,docker
IS_QUICK = not rabbitmq and not processes and not long
# A worker more than there are processors, as some tests wait.
WORKERS = $(shell $(BIN)/python -c 'import os; print((os.cpu_count() or 1) + 1)')
QUICK = -n $(WORKERS) -m "$(IS_QUICK)"
IS_SHARING = (rabbitmq or long) and not (rabbitmq and long) and not alone and not processes
SIDE_BY_SIDE = -rs -n $(WORKERS) -m "$(IS_SHARING)$(AND_ONLY)"
# Those that start programs share a RabbitMQ among each other, by files: what a module starts once, a
# node or a worker, is started in one process.
IS_STARTING = processes and not alone and not (rabbitmq and long)
BY_FILES = -rs -n $(WORKERS) --dist loadfile -m "$(IS_STARTING)$(AND_ONLY)"
# What runs in processes of its own, and nowhere else.
COMMANDS = -n $(WORKERS) --dist loadfile -m commands \
	tests/integration/test_dev_command.py tests/integration/test_run_command.py
ONE_BY_ONE = -rs -m "not ($(IS_QUICK)) and not ($(IS_SHARING)) and not ($(IS_STARTING))$(AND_ONLY)"
# Of the others, only those with these marks.
ONLY =
AND_ONLY = $(if $(ONLY), and ($(ONLY)))
# What pytest ends with where ARGS leave nothing of a part.
NONE = 5

# Without its word on what comes after it: docs/adr/0028 has ours. Never with `-q`, which counts no
# warning, so that nothing that is wrong would fail it.
SITE = NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

# Each worker, and each process that a test starts, would compile every module anew.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help install lock check site test quick others cover demo bench dist clean

help: ## List the targets
	@sed -n 's/^\([a-z]*\):.*## /\1	/p' Makefile | while IFS='	' read -r name text; do \
		printf '  make %-8s %s\n' "$$name" "$$text"; done

install: ## Make .venv of what requirements-dev.lock says (PYTHON=... names the interpreter)
	@PYTHON='$(PYTHON)' sh scripts/venv.sh

lock: ## Write that file anew for what pyproject.toml asks for (ARGS=--upgrade: in the newest versions)
	@PYTHON='$(PYTHON)' sh scripts/lock.sh $(ARGS)

check: install ## Lint, format, types, which way imports run, and whether the site can be built
	@$(BIN)/ruff check -q .
	@$(BIN)/ruff format -q --check .
	@$(BIN)/mypy --no-error-summary
	@$(BIN)/lint-imports
	@$(SITE)

site: install ## Build the documentation's site into build/site
	@$(SITE)

test: install ## Run all tests: the quick ones, then the others against a RabbitMQ (ARGS=... goes to pytest)
ifdef ARGS
	@$(BIN)/python -m scripts.programs
	@$(WITH_RABBITMQ) $(BIN)/python -m pytest $(ARGS)
else
	@$(MAKE) --no-print-directory quick others
endif

cover: install ## Measure what the quick tests and those of commands cover; less than 95 % fails
	@$(BIN)/python -m coverage erase
	@$(BIN)/python -m coverage run -m pytest $(QUICK)
	@$(BIN)/python -m coverage run -m pytest $(COMMANDS)
	@$(BIN)/python -m coverage combine -q
	@$(BIN)/python -m coverage report --skip-covered --fail-under=95

quick: install ## Run the tests that need no RabbitMQ and no other process
	@$(BIN)/python -m pytest $(QUICK) $(ARGS)

others: install ## Run the tests that the quick ones leave out (RABBITMQ=tree: on a RabbitMQ of today; ONLY=...)
	@$(BIN)/python -m scripts.programs
	@$(WITH_RABBITMQ) $(MAKE) --no-print-directory others-on-it

.PHONY: others-on-it
others-on-it:
	@$(BIN)/python -m pytest $(SIDE_BY_SIDE) $(ARGS) || [ $$? = $(NONE) ]
	@$(BIN)/python -m pytest $(BY_FILES) $(ARGS) || [ $$? = $(NONE) ]
	@$(BIN)/python -m pytest $(ONE_BY_ONE) $(ARGS) || [ $$? = $(NONE) ]

demo: install ## Run the example shop (CHAIN=rides|streaming|agents; BROKER=rabbitmq instead of the embedded broker)
	@$(BIN)/python -m scripts.broker --ways $(or $(WAYS_$(BROKER)),$(BROKER)) -- \
		$(BIN)/python -m workers.demo $(CHAIN) $(ARGS)

bench: install ## Measure side by side with what a user would pick instead (ARGS=--quick)
	@$(WITH_RABBITMQ) $(BIN)/python -m bench $(ARGS)

dist: install ## Build wheel and source archive, check them, and try the wheel (TAG=v...: as a release)
	@$(BIN)/python -m scripts.dist $(TAG)

clean: ## Remove .venv, caches and build artefacts
	@rm -rf .venv .venv.lock .mypy_cache .pytest_cache .ruff_cache .hypothesis .import_linter_cache
	@rm -rf build dist *.egg-info .coverage .coverage.* htmlcov
	@find . -name .git -prune -o -type d -name __pycache__ -prune -exec rm -rf {} +
