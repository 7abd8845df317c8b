# TaskHub: `make help` lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
CORES := $(shell nproc 2>/dev/null || echo 1)
# One more than there are cores, for tests also wait; but what they start wants cores, too.
TEST_PROCESSES := $(shell echo $$(($(CORES) < 4 ? $(CORES) + 1 : 4)))
.DEFAULT_GOAL := help
# What a command prints is its own, also below another make.
MAKEFLAGS += --no-print-directory

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 17

.PHONY: install
install: ## install what TaskHub needs to run into .venv, from the lock alone (so do the others below)
	@command -v $(PYTHON) >/dev/null || { echo "TaskHub needs Python 3.11 or newer; $(PYTHON) was not found." >&2; exit 1; }
	@$(PYTHON) requirements/install.py base

.PHONY: install-dev
install-dev: ## install what the tests need as well
	@command -v $(PYTHON) >/dev/null || { echo "TaskHub needs Python 3.11 or newer; $(PYTHON) was not found." >&2; exit 1; }
	@$(PYTHON) requirements/install.py dev

# For commands about a hub that runs already: they leave a changed lock to the next start.
.PHONY: installed
installed:
	@[ -x $(BIN)/python ] || { echo "TaskHub is not installed here yet; make run installs and starts it." >&2; exit 1; }

.PHONY: run
run: install ## install what is needed, and start everything on this machine (Ctrl-C ends it)
	@exec $(BIN)/python -m config.launcher

.PHONY: stop
stop: installed ## end the hub that runs, from another terminal
	@$(BIN)/python -m config.launcher stop

.PHONY: link
link: installed ## another sign-in link of the hub that runs: works once, within 10 minutes
	@$(BIN)/python -m config.launcher link

# From the command line alone: some systems have a NAME of their own in the environment.
given = $(and $(filter command line,$(origin $1)),$($1))

.PHONY: token
token: installed ## an API token of role agent, or of ROLE (viewer, agent, operator): NAME=account; with ROLE a missing one is made
	@$(if $(call given,NAME),,echo 'Usage: make token NAME=robot ROLE=agent (without ROLE for an account that exists)' >&2; exit 1)
	@$(BIN)/python manage.py create_token "$$NAME" --name "make token $$(date -u +%Y-%m-%dT%H:%M:%S)" $(if $(call given,ROLE),--role "$$ROLE")

.PHONY: password
password: installed ## a new password for the account operator, or for NAME
	@$(BIN)/python manage.py new_password $(if $(call given,NAME),"$$NAME")

# With -X dev come also the allocator's checks of C code, which take a third of the time; they stay off.
.PHONY: test
test: install-dev ## the whole suite; what needs PostgreSQL, nginx or Chromium is skipped where they are not
	PYTHONMALLOC=pymalloc $(BIN)/python -X dev -m pytest --tx '$(TEST_PROCESSES)*popen//python=$(BIN)/python -X dev' --dist loadfile --no-loadscope-reorder

.PHONY: test-failed
test-failed: install-dev ## what failed in the last run of the suite, once more, alone; more than five failures are no accident
	@$(BIN)/python -c 'import json; n = len(json.load(open(".pytest_cache/v/cache/lastfailed"))); print(f"{n} failed."); exit(n > 5)'
	PYTHONMALLOC=pymalloc $(BIN)/python -X dev -m pytest --last-failed --last-failed-no-failures none

.PHONY: test-daemon
test-daemon: install-dev ## the sandbox contract tests, and executions, in front of Daytona's own daemon: DAEMON=path (needs root, socat)
	@test -x "$(DAEMON)" || { echo "DAEMON must be the path of Daytona's daemon, built from its source" >&2; exit 2; }
	TASKHUB_TEST_DAEMON=$(abspath $(DAEMON)) $(BIN)/python -m pytest -k daemon \
	  tests/local_server/test_local_sessions.py tests/local_server/test_local_files.py
	TASKHUB_TEST_DAEMON=$(abspath $(DAEMON)) $(BIN)/python -m pytest tests/integration/test_endings.py \
	  tests/integration/test_broken_insides.py tests/integration/test_script_outcomes.py tests/integration/test_log_windows.py \
	  tests/integration/test_given_files.py tests/integration/test_executions.py tests/integration/test_file_changes.py \
	  tests/integration/test_artifacts.py tests/integration/test_setup_runs.py tests/integration/test_verifications.py \
	  tests/integration/test_prepared_runs.py

.PHONY: test-fast
test-fast: install-dev ## the pure tests: no server, no Redis, in less than a minute
	$(BIN)/python -m pytest tests/unit -q --tx '$(CORES)*popen//python=$(BIN)/python' --dist loadfile

.PHONY: coverage
coverage: install-dev ## the suite, with branch coverage of all processes it starts
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

.PHONY: lint
lint: install-dev ## format, lint, types, import contract, missing migrations; the same for JavaScript where npm is
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run
	$(BIN)/python .ci/js_types.py --check
	$(BIN)/python .ci/js_checks.py

.PHONY: js-types
js-types: install-dev ## write the JavaScript types of events and REST bodies anew, after a change of those
	$(BIN)/python .ci/js_types.py

.PHONY: deploy-check
deploy-check: install ## Django's deployment checks on the production settings
	DJANGO_SETTINGS_MODULE=config.settings.production SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))') \
	  ALLOWED_HOSTS=hub.example.com DATABASE_URL=postgresql://hub@localhost/hub REDIS_URL=redis://localhost/0 \
	  $(BIN)/python manage.py check --deploy --fail-level WARNING

.PHONY: audit
audit: install-dev ## insecure constructs in our code (bandit), known holes in what it stands on (pip-audit)
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive taskhub sandboxes config manage.py test_sse.py
	@$(BIN)/python .ci/audit_requirements.py requirements/base.txt requirements/dev.txt

.PHONY: mcp-conformance
mcp-conformance: install-dev ## the MCP server against the protocol's conformance suite and its inspector (needs npm)
	$(BIN)/python .ci/mcp_checks.py

.PHONY: clients
clients: install-dev ## every client of docs/clients.md, and make documents, against two hubs (needs npm, Chromium, Firefox, nginx, PostgreSQL)
	$(BIN)/python -m tests.clients

.PHONY: documents
documents: install-dev ## the OpenAPI and AsyncAPI documents against the official tools, and clients made from them (needs npm)
	$(BIN)/python .ci/document_checks.py

.PHONY: format
format: install-dev ## put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .
	$(BIN)/python .ci/js_checks.py --fix

.PHONY: screenshots
screenshots: install-dev ## README's pictures, and every page in every look into var/screenshots/ (needs Chromium; five minutes)
	$(BIN)/python -m docs.screenshots

.PHONY: bench
bench: install-dev ## the benchmarks; they write benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks

.PHONY: soak
soak: install-dev ## ten minutes (MINUTES) of load while parts are killed: nothing lost, memory flat; LIMIT_CPUS: a full service
	$(BIN)/python -m tests.soak $(if $(call given,MINUTES),--minutes "$$MINUTES") $(if $(call given,LIMIT_CPUS),--limit-cpus "$$LIMIT_CPUS")

.PHONY: agents
agents: install-dev ## 50 agents, 500 tasks, each agent killed: each task done once, free again in its lease and 5 s; on SQLite and PostgreSQL
	$(BIN)/python -m tests.agents

.PHONY: requirements
requirements: install-dev ## compile requirements/*.in to pinned and hashed *.txt
	cd requirements && for name in base dev; do \
	  ../$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-strip-extras --no-emit-index-url \
	    $$name.in --output-file $$name.txt || exit 1; done
