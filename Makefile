# The two commands of the README are `make run` and `make test`; the others are for development.
PYTHON := .venv/bin/python
TSFM := .venv/bin/tsfm
FAMILY ?= fracast
export HF_HUB_OFFLINE := 1

.PHONY: run test test-fast test-long serve fleet compare check bench reference soak docs audit clean
.DEFAULT_GOAL := test

# Set up, forecast a real series with Fracast through HTTP, print the answer and a chart.
run: .venv
	$(TSFM) forecast src/tsfm/share/nino12.csv --family fracast --horizon 24

# What each commit must pass, without root, in two processes for each CPU, as most tests wait for a service of their own.
# Compiled modules are kept even where the environment forbids it: hundreds of processes would compile all of tsfm.
# WORKERS=0: in pytest's own process, for a debugger.
WORKERS ?= $(shell expr 2 '*' $$(nproc))
PYTEST := $(PYTHON) -m pytest tests --ignore tests/host --ignore tests/page --dist loadfile --no-loadscope-reorder --numprocesses
test test-fast test-long: export PYTHONDONTWRITEBYTECODE :=
test: .venv
	$(PYTEST) $(WORKERS) -m "not long"

# The same without what is marked slow (whole services, the benchmark, long statistics): for each change of the code.
test-fast: .venv
	$(PYTEST) $(WORKERS) -m "not slow and not long"

# The rest: each operation of the API asked hundreds of times by Schemathesis, each part of the benchmark once, and whole
# services in other ways than the usual one: by their makers' packages, under another server, on a fleet, from SQL, by
# TDgpt's old scripts, on other CPUs and devices, under hostile clients.
test-long: .venv
	$(PYTEST) $(WORKERS) -m long

serve: .venv
	$(TSFM) serve $(FAMILY)

# Two hosts behind a balancer, all on this machine: a forecast, a host that dies under load, and what was lost.
fleet: .venv
	$(PYTHON) -m tools.fleet

# Our network against its maker's package, on the weights of this machine.
compare: .venv
	$(TSFM) compare $(FAMILY) $(if $(MODEL_FOLDER),--model-folder $(MODEL_FOLDER))

check: .venv
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy
	.venv/bin/lint-imports --no-cache

bench: .venv build/reference/timesfm build/fleet
	$(PYTHON) -m bench $(ONLY)

# Numbers of a maker's package that cannot be in the development environment, for the tests: FAMILY=timesfm or tirex.
reference: .venv build/reference/$(FAMILY)
	PYTHONPATH=build/reference/$(FAMILY) $(PYTHON) -W ignore tests/reference/$(FAMILY).py
build/reference/%: $(wildcard tests/reference/*.txt) | .venv
	sh packaging/uv.sh pip install --quiet --no-deps --require-hashes --python $(PYTHON) --python-version 3.12 \
	    --target $@ -r tests/reference/$*.txt
	touch $@

# Ray, beside the development environment, which it stands on: for the tests of a fleet, which fail without it in CI.
build/fleet: packaging/locks/fleet.txt packaging/fleet-venv.sh | .venv
	sh packaging/fleet-venv.sh $@ .venv

# Valid and hostile traffic with faults, for MINUTES; exits 1 when an answer was lost or wrong.
MINUTES ?= 10
soak: .venv
	$(PYTHON) -m tools.soak --minutes $(MINUTES)

# The documentation as a site in build/site; needs no network.
docs: .venv
	$(PYTHON) packaging/website.py build/site

# Known weaknesses of what the packages hold; asks the index's advisory service, so it needs a network.
audit:
	sh packaging/audit.sh

.PHONY: .venv
.venv:
	@sh packaging/dev-venv.sh .venv
	@sh packaging/int8.sh .venv/lib/python3.11/site-packages/tsfm_int8.so optional

clean:
	rm -rf build dist

-include packaging/packaging.mk packaging/weights.mk
