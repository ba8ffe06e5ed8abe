# Packages and the tests of their life on a host. VERSION= and OUT= override what is built and where it goes.
OUT ?= dist
export OUT VERSION

.PHONY: locks python python-update python-check venvs deb rpm repo test-host clean-packages

locks:
	python3.11 packaging/lock.py

# The interpreter that the packages bring, into the cache.
python:
	python3.11 packaging/interpreter.py

# A security update of CPython, OpenSSL and the other sources: pin the newest, then commit what changed.
python-update:
	python3.11 packaging/interpreter.py update

# Fails when Debian lists a newer version of a source than the pinned one. A release begins with it.
python-check:
	python3.11 packaging/interpreter.py check

venvs:
	python3.11 packaging/venvs.py

deb rpm: .venv
	$(PYTHON) packaging/build.py $@

# A local repository for apt and for dnf, from what was built.
repo: deb rpm
	sh packaging/repo.sh $(OUT)

test-host: .venv
	$(PYTHON) -m pytest tests/page tests/host

clean-packages:
	rm -rf build/stage build/nfpm build/venvs build/host $(OUT)
