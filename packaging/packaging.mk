# Packages and the tests of their life on a host. VERSION= and OUT= override what is built and where it goes.
# ARCH=arm64 builds for ARM64 on any machine. TORCH_WHEEL_DIR= is a folder with torch's wheel for that architecture.
# WITHOUT_TORCH=1 leaves torch out, for tests where the wheel cannot be had; no release can be made so.
OUT ?= dist
export OUT VERSION ARCH TORCH_WHEEL_DIR WITHOUT_TORCH SIGN_KEY REPO_URL SIGN_DATE

.PHONY: locks python python-update python-check venvs deb rpm cuda-deb cuda-rpm repo image release release-check test-host clean-packages

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

# PyTorch with CUDA for hosts with a GPU. It is gigabytes, so that no other target builds it.
cuda-deb cuda-rpm: .venv
	$(PYTHON) packaging/build.py $(@:cuda-%=%) --only taos-tsfm-cuda

# A repository for apt and for dnf. SIGN_KEY=, a key of gpg's, signs it; REPO_URL= is then the address that hosts read it at.
repo: deb rpm
	test -z "$(SIGN_KEY)" || sh packaging/complete.sh $(OUT)
	$(PYTHON) packaging/repo_package.py
	sh packaging/repo.sh $(OUT)

# An image for containers, in OCI's layout, from the debs; no engine is needed.
image: deb
	$(PYTHON) packaging/image.py

# All of it, signed: packages, repository, image, documentation, bills of materials, sums and a note of what was built
# from what. Indexes and signatures get the date of the commit, so that a second release of it is the same.
release: export SIGN_DATE := $(or $(SIGN_DATE),$(shell git log -1 --format=%ct))
release: release-check repo image
	$(PYTHON) packaging/release.py

release-check: .venv
	$(PYTHON) packaging/release.py check

test-host: .venv
	$(PYTHON) -m pytest tests/page tests/host

clean-packages:
	rm -rf build/stage build/nfpm build/venvs build/host build/amd64 build/arm64 $(OUT)
