# One-command entries for people and for CI. `make` alone lists them.
# Everything is installed into .venv; nothing outside this folder is touched, except by system-deps,
# and by go-tools and test-cluster, which fill a cache.

SHELL := bash
PYTHON ?= python3
ARGS ?=
# Debian packages that tests need beyond Python; none yet.
SYSTEM_PACKAGES :=

BIN := .venv/bin
# Each stamp is as new as the pyproject.toml that it was installed from.
VENV_STAMP := .venv/stamp-venv
DEMO_STAMP := .venv/stamp-demo
DEV_STAMP := .venv/stamp-dev

.DEFAULT_GOAL := help
.PHONY: help demo test test-long test-cluster go-tools bench bench-smoke drills check format proto proto-check \
    system-deps clean

help: ## list these targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-13s %s\n", $$1, $$2 }' Makefile

demo: $(DEMO_STAMP) ## run the demo of the README (ARGS="…" is passed on)
	@$(BIN)/aeraki-xds demo $(ARGS)

test: $(DEV_STAMP) ## run the tests (ARGS="-k name" and the like)
	$(BIN)/python -m pytest -n auto --dist loadgroup $(ARGS)

test-long: $(DEV_STAMP) ## run the tests that take minutes
	$(BIN)/python -m pytest -n auto --dist loadgroup -m long $(ARGS)

# The programs stay in $XDG_CACHE_HOME/aeraki-xds, outside this folder; Go keeps its own caches.
test-cluster: $(DEV_STAMP) ## run the tests against a real Kubernetes API server (built once, from source)
	@PYTHONPATH=benchmarks $(BIN)/python tests/cluster/build.py
	$(BIN)/python -m pytest -m cluster tests/cluster $(ARGS)

go-tools: $(DEV_STAMP) ## have a Go toolchain for test-cluster and bench, if none is installed
	@$(BIN)/python benchmarks/golang.py

bench: $(DEV_STAMP) go-tools ## ours beside its peers, and the numbers to reach (ARGS="fanout --runs 1")
	@$(BIN)/python benchmarks/bench.py $(ARGS)

bench-smoke: $(DEV_STAMP) ## what a change costs in counts: bytes, pushes, encodes (a minute, in CI)
	@$(BIN)/python benchmarks/smoke.py

drills: $(DEV_STAMP) ## rehearse bad days with real processes (ARGS="kill stop" for some)
	$(BIN)/python benchmarks/rehearse.py $(ARGS)

check: $(DEV_STAMP) ## format, lint, types, import rules, spelling, generated code
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/codespell
	@$(MAKE) --no-print-directory proto-check

format: $(DEV_STAMP) ## format the code and mend what ruff can mend
	$(BIN)/ruff check --fix-only .
	$(BIN)/ruff format .

proto: $(DEV_STAMP) ## regenerate src/aeraki_xds/_proto from protos/
	$(BIN)/python protos/generate.py

proto-check: $(DEV_STAMP) ## fail if regenerating would change anything
	$(BIN)/python protos/generate.py --check

system-deps: ## install the Debian packages that some tests need
ifeq ($(strip $(SYSTEM_PACKAGES)),)
	@echo "[setup] no system packages are needed"
else
	@echo "[setup] installing system packages: $(SYSTEM_PACKAGES)"
	@root=""; [ "$$(id -u)" = 0 ] || root=sudo; \
	$$root apt-get update -q && \
	$$root env DEBIAN_FRONTEND=noninteractive \
	    apt-get install -q -y --no-install-recommends $(SYSTEM_PACKAGES)
endif

clean: ## remove .venv, caches and build output
	rm -rf .venv dist build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
	find src tests protos -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true

# --- set-up -------------------------------------------------------------------------------------

$(VENV_STAMP):
	@command -v "$(PYTHON)" >/dev/null || \
	    { echo "[setup] $(PYTHON) was not found: name a Python 3.11+ as make PYTHON=…" >&2; exit 1; }
	@"$(PYTHON)" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	    { echo "[setup] Python 3.11 or newer is needed, $(PYTHON) is $$("$(PYTHON)" -V 2>&1):" \
	        "name another one as make PYTHON=…" >&2; exit 1; }
	@echo "[setup] creating .venv with $$("$(PYTHON)" -V)"
	@"$(PYTHON)" -m venv --clear .venv
	@touch $@

# Of what pip says, a line per package that is new, and the size of the large ones; its errors go to
# stderr unfiltered. $(1): the extra to install.
define install
	@echo "[setup] installing aeraki-xds with what '$(1)' needs (the first time can take a minute or two)"
	@set -o pipefail; $(BIN)/python -m pip install --disable-pip-version-check --progress-bar off \
	    --editable ".[$(1)]" | while IFS= read -r line; do case "$$line" in \
	        Collecting*) line=$${line#Collecting }; echo "[setup]   $${line%% (from *}" ;; \
	        *Downloading*MB\)*) line=$${line##* (}; echo "[setup]     $${line%\)*}" ;; \
	        "Installing collected packages"*) echo "[setup] unpacking" ;; \
	    esac; done
	@echo "[setup] done"
endef

$(DEMO_STAMP): pyproject.toml $(VENV_STAMP)
	$(call install,demo)
	@touch $@

# What developers need includes what the demo needs.
$(DEV_STAMP): pyproject.toml $(VENV_STAMP)
	$(call install,dev)
	@touch $(DEMO_STAMP) $@
