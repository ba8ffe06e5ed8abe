# The two commands of the README are `make run` and `make test`; the others are for development.
PYTHON := .venv/bin/python
TSFM := .venv/bin/tsfm
FAMILY ?= fracast
export HF_HUB_OFFLINE := 1

.PHONY: run test serve check bench clean
.DEFAULT_GOAL := test

# Set up, forecast a real series with Fracast through HTTP, print the answer and a chart.
run: .venv
	$(TSFM) forecast src/tsfm/share/nino12.csv --family fracast --horizon 24

# All tests that need no root.
test: .venv
	$(PYTHON) -m pytest tests --ignore tests/host

serve: .venv
	$(TSFM) serve $(FAMILY)

check: .venv
	.venv/bin/ruff check .
	.venv/bin/ruff format --check .
	.venv/bin/mypy

bench: .venv
	$(PYTHON) -m bench $(ONLY)

.PHONY: .venv
.venv:
	@sh packaging/dev-venv.sh .venv

clean:
	rm -rf build dist

-include packaging/packaging.mk packaging/weights.mk
