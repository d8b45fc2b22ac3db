# SPDX-License-Identifier: Apache-2.0
# Each target does its own set-up: Debian packages when missing (bindep.txt), a virtual environment in .venv.
SHELL := /bin/sh
.DEFAULT_GOAL := help
.PHONY: help demo demo-console demo-clean test integration chaos lab lab-down lab-status bench docs lint format venv clean

unexport PYTHONPATH PYTHONHOME VIRTUAL_ENV
VENV := $(CURDIR)/.venv
PYTHON := $(VENV)/bin/python
READY := $(VENV)/.ready
JOBS ?= $(shell nproc)
# More words for pytest, for example: make test ARGS="-k planner -x"
ARGS ?=

help: ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-14s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: packages $(READY) ## migrate a small real VM from an OVA to libvirt, boot it, write demo/report.json
	@$(PYTHON) -m demo.run

demo-console: $(READY) ## open the serial console of the VM that the demo left running (leave with Ctrl-])
	@$(PYTHON) -m demo.console

demo-clean: ## stop and remove everything that the demo made
	@! [ -x /usr/bin/python3 ] || /usr/bin/python3 -m demo.clean

test: packages $(READY) ## unit, property, architecture, functional, simulation and contract tests
	@$(PYTHON) -m pytest -n $(JOBS) -m "not integration and not chaos and not perf" $(ARGS) tests

integration: packages-integration $(READY) ## tests against real libvirt, RabbitMQ, MariaDB, PostgreSQL, which they start
	@$(PYTHON) -m pytest -m "integration and not chaos" $(ARGS) tests

chaos: packages-integration $(READY) ## kill -9 real processes in the middle of real migrations, 20 seeded rounds
	@$(PYTHON) -m pytest -m chaos $(ARGS) tests

lab: packages $(READY) ## bring up real OpenStack clouds on loopback, an old and a new one (ARGS="new --hosts 2")
	@$(PYTHON) -m tests.lab up $(ARGS)

lab-down: $(READY) ## stop every cloud of the lab; their data stay
	@$(PYTHON) -m tests.lab down $(ARGS)

lab-status: $(READY) ## the services of the lab and their memory
	@$(PYTHON) -m tests.lab status $(ARGS)

bench: packages-integration $(READY) ## measure against nbdcopy and qemu-img; a table and bench/report.json
	@$(PYTHON) -m bench $(ARGS)

docs: packages $(READY) ## build the documents into doc/build, warnings are errors
	@$(VENV)/bin/reno -q lint
	@$(PYTHON) -m sphinx -W --keep-going -q -b html doc/source doc/build/html
	@$(PYTHON) -m sphinx -W --keep-going -q -b html api-refs/source doc/build/api-refs
	@echo "Open doc/build/html/index.html and doc/build/api-refs/index.html"

lint: packages $(READY) ## ruff, mypy, import contracts
	@$(PYTHON) -m ruff check .
	@$(PYTHON) -m ruff format --check -q .
	@$(PYTHON) -m mypy
	@$(VENV)/bin/lint-imports --no-cache

format: $(READY) ## rewrite the code in the house format
	@$(PYTHON) -m ruff check --fix-only -q .
	@$(PYTHON) -m ruff format -q .

venv: packages $(READY) ## only make or refresh the virtual environment
	@:

clean: demo-clean ## remove what the targets made, the virtual environment too
	@rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis .tox \
	    build doc/build bench/report.json bench/report-quick.json bench/build *.egg-info
	@find . -name __pycache__ -type d -prune -exec rm -rf {} +

.PHONY: packages packages-integration
packages:
	@tools/packages.sh

packages-integration:
	@tools/packages.sh integration openstack

$(READY): requirements.txt test-requirements.txt setup.cfg pyproject.toml tools/venv.sh tools/link_debian_modules.py \
    | packages
	@tools/venv.sh $(VENV)
