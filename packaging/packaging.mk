# Packages and the tests of their life on a host. VERSION= and OUT= override what is built and where it goes.
OUT ?= dist
export OUT VERSION

.PHONY: locks venvs deb rpm repo test-host clean-packages

locks:
	python3.11 packaging/lock.py

venvs:
	python3.11 packaging/venvs.py

deb rpm: .venv
	$(PYTHON) packaging/build.py $@

# A local repository for apt and for dnf, from what was built.
repo: deb rpm
	sh packaging/repo.sh $(OUT)

test-host: .venv
	$(PYTHON) -m pytest tests/host

clean-packages:
	rm -rf build/stage build/nfpm build/venvs build/host $(OUT)
