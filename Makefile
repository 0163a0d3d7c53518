# What a person types here; `make` alone lists it. The work itself is in lab/ and tests/.
PYTHON ?= python3
FROM ?= 1.34.4
TO ?= 1.35.4

BIN := .venv/bin
LAB := $(PYTHON) lab/lab
LONG_PARTS := upgrade-ha drain maintenance restore systemd services
COLLECTION := ansible_collections.clustercare.kubeadm

.NOTPARALLEL:
.PHONY: help venv check sanity prepare molecule integration test test-long demo clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' Makefile

venv: .venv/ready ## the tools of requirements-dev.txt in .venv (made again when that file changes)

# A fresh Debian has a Python without venv; only then, and only as root, is apt asked.
.venv/ready: requirements-dev.txt
	@$(PYTHON) -c 'import ensurepip, venv' || { apt-get update -q && apt-get install -yq git python3-venv; }
	$(PYTHON) -m venv .venv
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements-dev.txt
	$(BIN)/pip check
	@touch $@

check: venv ## lint, types and unit tests: under 2 minutes, no root, no lab
	$(BIN)/ruff check
	$(BIN)/yamllint --strict .
	$(BIN)/mypy -p $(COLLECTION).plugins -p lab
	$(BIN)/ansible-lint
	$(BIN)/antsibull-changelog lint
	$(BIN)/pytest -q tests/unit

sanity: venv ## ansible-test sanity and units and Galaxy's importer, on the built artifact
	$(BIN)/python tests/sanity/run.py

prepare: venv ## everything expensive that the lab needs, packages of this machine included (root)
	$(LAB) prepare --install --kubernetes $(FROM) --kubernetes $(TO)

molecule: prepare ## one role's scenario on a lab (root)
	$(BIN)/molecule test --scenario-name etcd_backup

integration: prepare ## the short tests on real clusters (root)
	$(BIN)/pytest -v tests/integration

test: check sanity molecule integration ## all of the above: what CI calls

test-long: prepare ## the long tests: all, or PART=one of $(LONG_PARTS) molecule
ifneq ($(filter-out molecule,$(PART)),)
	$(BIN)/pytest -v -m long tests/integration/test_$(subst -,_,$(PART)).py
else ifeq ($(PART),molecule)
	$(BIN)/molecule test --all
else
	$(BIN)/molecule test --all
	$(BIN)/pytest -v -m long tests/integration
endif

demo: prepare ## 1 master + 2 workers, $(FROM) to $(TO) under load, without a failed request (root)
	$(BIN)/python -m lab.demo --from $(FROM) --to $(TO)

clean: ## remove what was built here; labs and their cache stay (lab/lab down)
	rm -rf build .venv .ansible .cache .mypy_cache .pytest_cache .ruff_cache
