# What a person types here; `make` alone lists it. The work itself is in lab/ and tests/.
# PYTHON makes .venv; it is no bare name, because .venv comes first in PATH below.
PYTHON ?= /usr/bin/python3
KUBERNETES := 1.34.4 1.35.4

export PATH := $(CURDIR)/.venv/bin:$(PATH)

.NOTPARALLEL:
.PHONY: help venv check sanity prepare molecule integration test test-long demo clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

venv: .venv/ready ## the tools of requirements-dev.txt in .venv; made again when that file changes

# A fresh Debian has no venv in its Python; only then is apt asked, which takes root.
.venv/ready: requirements-dev.txt
	@$(PYTHON) -c 'import ensurepip, venv' || { apt-get update -q && apt-get install -yq git python3-venv; }
	$(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	.venv/bin/pip check
	@touch $@

check: venv ## lint, types and unit tests: under 2 minutes, no root, no lab
	ruff check
	yamllint --strict .
	mypy -p ansible_collections.clustercare.kubeadm.plugins -p lab -p tests -p benchmarks
	ansible-lint
	antsibull-changelog lint
	pytest -q -n 4 tests/unit

sanity: venv ## ansible-test sanity and units and Galaxy's importer, on the built artifact
	.venv/bin/python tests/sanity/run.py

prepare: venv ## everything expensive that labs need, this machine's own packages included (root)
	lab/lab prepare --install $(addprefix --kubernetes ,$(KUBERNETES))

molecule: prepare ## the scenario of one role on a lab (root)
	molecule test --scenario-name etcd_backup

integration: prepare ## the short tests on real clusters (root)
	pytest -v tests/integration

test: check sanity molecule integration ## all of the above; what CI calls (root)

test-long: prepare ## the long tests: PART=upgrade-ha|backup|drain|maintenance|restore|restore-modes|systemd|services|etcd|lab-kinds|flow|molecule; without PART all (root)
ifneq ($(filter-out molecule,$(PART)),)
	pytest -v -m long $(if $(filter flow,$(PART)),tests/unit/checkout,tests/integration/test_$(subst -,_,$(PART)).py)
else
	molecule test --all
	$(if $(PART),,pytest -v -m long tests)
endif

demo: prepare ## 1 master and 2 workers one minor up, under load and without one failed request (root)
	.venv/bin/python -m lab.demo

clean: ## removes what was made here; labs and their cache stay (see lab/lab down)
	rm -rf build .venv .ansible .cache .mypy_cache .pytest_cache .ruff_cache
