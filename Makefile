# Two commands matter on a fresh machine: `make up` and `make test`. It needs Python 3.11 or later
# with pip and headers, gcc and make. `make help` lists the rest.
#
# PYTHON=...         the interpreter to make .venv with
# ISTHMUS_PURE=1     compile nothing, and use no extension that is already there
# ISTHMUS_CFLAGS=... other compiler flags
# JOBS=3             files of tests that run side by side; 0: all in one process
# ARGS=...           more arguments for `up`, `test`, `test-pure` and `bench`

SUITABLE := import sys, venv; sys.exit(sys.version_info < (3, 11))
CANDIDATES := python3.11 python3.12 python3.13 python3.14 python3
PYTHON ?= $(shell for name in $(CANDIDATES); do \
	$$name -c '$(SUITABLE)' 2>/dev/null && { echo $$name; break; }; done)
PY := .venv/bin/python
READY := .venv/.ready
# The requirements as pyproject.toml states them, so that one pip call brings them all: an ordinary
# `pip install -e .` would fetch the build requirements a second time, for itself.
REQUIREMENTS := import tomllib; \
	project = tomllib.load(open("pyproject.toml", "rb"))["project"]; \
	extras = project["optional-dependencies"]; \
	print(*project["dependencies"], *extras["build"], *extras["test"], sep="\n")
JOBS ?= 3
# In the order of collection: the long files are in the middle, and short ones fill up the end.
SIDE_BY_SIDE = -n $(JOBS) --dist loadfile --no-loadscope-reorder
PIP := $(PY) -m pip --disable-pip-version-check --quiet install

.DEFAULT_GOAL := help
.PHONY: help venv build up test test-pure test-clients test-objectstore redis-suite soak soak-persist soak-replicate soak-failover soak-moves lint format docs bench clean distclean

help: ## show this list
	@sed -n 's/^\([a-z-]*\):[^#]*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

venv: build ## make .venv with everything in it, and .venv/bin/isthmus

build: $(READY) ## compile what has changed (nothing if ISTHMUS_PURE=1)
	@$(PY) setup.py --quiet build_ext --inplace

up: build ## start a cluster in the foreground; Ctrl-C stops it
	@.venv/bin/isthmus up $(ARGS)

test: build ## the whole suite, compiled
	$(PY) -m pytest $(SIDE_BY_SIDE) $(ARGS)

test-pure: $(READY) ## the whole suite, interpreted
	ISTHMUS_PURE=1 $(PY) -m pytest $(SIDE_BY_SIDE) $(ARGS)

test-clients: build ## real clients and applications, in an environment of their own
	@test -x .venv-clients/bin/python || $(PYTHON) -m venv --without-pip .venv-clients
	@$(PY) -m pip --disable-pip-version-check --quiet --python .venv-clients/bin/python \
		install -r tests/clients/requirements.txt
	ISTHMUS_CLIENTS=1 ISTHMUS_PYTHON=$(CURDIR)/$(PY) \
		.venv-clients/bin/python -m pytest -o filterwarnings= tests/clients $(ARGS)

test-objectstore: build ## export and import with stores that speak S3 and Azure Blob
	@test -x .venv-objectstore/bin/python || $(PYTHON) -m venv --without-pip .venv-objectstore
	@$(PY) -m pip --disable-pip-version-check --quiet --python .venv-objectstore/bin/python \
		install -r .venv/requirements.txt -r tests/objectstore/requirements.txt
	.venv-objectstore/bin/python -m pytest -o filterwarnings= tests/objectstore $(ARGS)

redis-suite: build ## Redis' own tests (fetched; needs tclsh) against a node: ARGS="unit/type/hash"
	$(PY) -m tests.redis_suite.run $(ARGS)

soak: $(READY) ## random streams against redis-server 8.0 for a while: ARGS="--seconds 600"
	$(PY) -m tests.oracle.soak $(ARGS)

soak-persist: build ## kill a node while it writes, 50 times under each fsync policy: ARGS="--times 9"
	$(PY) -m tests.persist.crash $(ARGS)

soak-replicate: build ## a million writes to and from redis-server, with cut links
	$(PY) -m tests.replicate.soak $(ARGS)

soak-moves: build ## 3 shards become 5 and 3 again under load: ARGS="--keys 100000 --hash-mb 10"
	$(PY) -m tests.moves.soak $(ARGS)

soak-failover: build ## kill, stop and hand over primaries of a cluster under load, 30 times each
	for campaign in "kill --durability replica --replicas 2" "kill --durability async" \
		"planned" "stop --replicas 2" "zone --replicas 2"; do \
		$(PY) -m tests.failover.campaign $$campaign --times 30 $(ARGS) || exit 1; done

lint: $(READY) ## style, types, and the rules of tests/tidy
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .
	$(PY) -m mypy
	ISTHMUS_PURE=1 $(PY) -m pytest -q tests/tidy

format: $(READY) ## rewrite the sources in the one layout
	$(PY) -m ruff format .
	$(PY) -m ruff check --fix .

docs: $(READY) ## make docs/commands.md and docs/configuration.md from the declarations
	ISTHMUS_PURE=1 $(PY) tools/command_docs.py
	ISTHMUS_PURE=1 $(PY) tools/config_docs.py

bench: build ## compare with redis-server and nutcracker
	$(PY) -m bench $(ARGS)

clean: ## remove what was built, and caches
	rm -rf build dist *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -f isthmus/_build_stamp.json
	find isthmus -name '*.so' -type f -delete
	find isthmus tests bench -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

distclean: clean ## remove .venv too
	rm -rf .venv .venv-clients .venv-objectstore

$(READY): pyproject.toml setup.py
	@test -n "$(PYTHON)" || { echo "Python 3.11 or later is needed: make PYTHON=/path/to/python"; exit 1; }
	@rm -f $@
	@# A distribution may ship venv without ensurepip: then lend the new environment our own pip.
	@test -x $(PY) || $(PYTHON) -m venv .venv >/dev/null 2>&1 || { \
		$(PYTHON) -m venv --clear --without-pip .venv && \
		$(PYTHON) -m pip --python $(PY) install --quiet pip; }
	@echo "installing requirements into .venv"
	@$(PY) -c '$(REQUIREMENTS)' >.venv/requirements.txt
	@$(PIP) -r .venv/requirements.txt
	@echo "building isthmus"
	@$(PY) setup.py --quiet build_ext --inplace
	@# The extensions are there already: this only makes the package known and the command.
	@ISTHMUS_PURE=1 $(PIP) --no-build-isolation --no-deps -e .
	@touch $@
