# A deb and an rpm of weights, so that a site without a network installs everything with apt or dnf:
#   tsfm pull chronos --to DIR && make model-package FAMILY=chronos FROM=DIR
.PHONY: model-package
model-package: .venv
	$(PYTHON) packaging/model_package.py "$(FAMILY)" "$(FROM)" $(CHECKPOINT)
