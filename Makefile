# TaskHub: `make help` lists what there is.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# What tests start wants cores, too.
TEST_PROCESSES := $(shell n=$$(nproc 2>/dev/null || echo 1); echo $$((n < 4 ? n : 4)))
.DEFAULT_GOAL := help

.PHONY: help
help: ## this list
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## /\1\t/' | expand -t 14

$(VENV)/.base: requirements/base.txt
	@echo "Installing what TaskHub needs into $(VENV) (once; about a minute) ..."
	@$(PYTHON) -m venv $(VENV)
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/base.txt
	@touch $@

$(VENV)/.dev: requirements/dev.txt $(VENV)/.base
	@echo "Installing what the tests need into $(VENV) (once) ..."
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements/dev.txt
	@touch $@

.PHONY: run
run: $(VENV)/.base ## install what is needed, and start everything on this machine (Ctrl-C ends it)
	@exec $(BIN)/python -m config.launcher

.PHONY: test
test: $(VENV)/.dev ## the whole suite; what needs PostgreSQL, nginx or Chromium is skipped where they are not
	$(BIN)/python -X dev -m pytest --tx '$(TEST_PROCESSES)*popen//python=$(BIN)/python -X dev' --dist loadfile --no-loadscope-reorder

.PHONY: coverage
coverage: $(VENV)/.dev ## the suite, with branch coverage of all processes it starts
	$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest
	$(BIN)/coverage combine --quiet
	$(BIN)/coverage report

.PHONY: lint
lint: $(VENV)/.dev ## format, lint, types, import contract, missing migrations
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python manage.py makemigrations --check --dry-run

.PHONY: deploy-check
deploy-check: $(VENV)/.base ## Django's deployment checks on the production settings
	DJANGO_SETTINGS_MODULE=config.settings.production SECRET_KEY=$$($(BIN)/python -c 'import secrets; print(secrets.token_urlsafe(50))') \
	  ALLOWED_HOSTS=hub.example.com DATABASE_URL=postgresql://hub@localhost/hub REDIS_URL=redis://localhost/0 \
	  $(BIN)/python manage.py check --deploy --fail-level WARNING

.PHONY: audit
audit: $(VENV)/.dev ## insecure constructs in our code (bandit), known holes in what it stands on (pip-audit)
	$(BIN)/bandit --quiet --configfile pyproject.toml --recursive taskhub sandboxes config manage.py test_sse.py
	@$(BIN)/python .ci/audit_requirements.py requirements/base.txt requirements/dev.txt

.PHONY: mcp-conformance
mcp-conformance: $(VENV)/.dev ## the MCP server against the protocol's conformance suite and its inspector (needs npm)
	$(BIN)/python .ci/mcp_checks.py

.PHONY: documents
documents: $(VENV)/.dev ## the OpenAPI and AsyncAPI documents against the official tools, and clients made from them (needs npm)
	$(BIN)/python .ci/document_checks.py

.PHONY: format
format: $(VENV)/.dev ## put the code in order
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

.PHONY: bench
bench: $(VENV)/.dev ## the benchmarks; they write benchmarks/RESULTS.md
	$(BIN)/python -m benchmarks

.PHONY: soak
soak: $(VENV)/.dev ## ten minutes of load while parts are killed: nothing lost, memory flat, nothing left behind
	$(BIN)/python -m tests.soak

.PHONY: requirements
requirements: $(VENV)/.dev ## compile requirements/*.in to pinned and hashed *.txt
	cd requirements && for name in base dev; do \
	  ../$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
	    $$name.in --output-file $$name.txt || exit 1; done
