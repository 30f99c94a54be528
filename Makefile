# Every target makes .venv from the lock once and reuses it; needed: Python 3.11-3.13 with venv, and make.
export OMP_NUM_THREADS = 1
export MKL_NUM_THREADS = 1
export OPENBLAS_NUM_THREADS = 1

PYTHON ?= $(shell for p in python3.11 python3.12 python3.13 python3; do \
  $$p -c 'import ensurepip, sys, venv; sys.exit(not (3, 11) <= sys.version_info < (3, 14))' 2>/dev/null && echo $$p && break; done)
PY = .venv/bin/python
TESTS = tests notebooks
NBVAL = --nbval-lax --nbval-current-env --nbval-cell-timeout=240
ALONE = tests/lab/test_sweeps.py tests/lab/test_runner.py tests/house/test_offline.py tests/browser

.PHONY: run reproduce test lab bench book publish

run: .venv/ready
	$(PY) -m entropy_utils run --profile smoke

reproduce: .venv/ready
	$(PY) -m entropy_utils run --profile laptop

test: .venv/ready
	$(PY) -m ruff check
	ENTROPY_PROFILE=smoke $(PY) -m pytest -n 2 --dist loadfile $(addprefix --ignore=,$(ALONE)) $(NBVAL) $(TESTS)
	ENTROPY_PROFILE=smoke $(PY) -m pytest $(ALONE) # they count processes, use both cores themselves or look at the clock

lab: .venv/ready
	$(PY) -m jupyter lab --notebook-dir=notebooks $$([ "$$(id -u)" != 0 ] || echo --allow-root)

bench: .venv/ready
	$(PY) -m tests.bench

publish: .venv/ready
	$(PY) -m entropy_utils publish

book: build/book-venv/ready
	build/book-venv/bin/jupyter-book build . --config book/_config.yml --toc book/_toc.yml --path-output build/book

.venv/locked: requirements.txt
	$(call venv,.venv)
	@test -z "$(TORCH_INDEX)" || $(PY) -m pip install --quiet --index-url $(TORCH_INDEX) $$(grep -o '^torch==[0-9.]*' requirements.txt)
	$(PY) -m pip install --quiet -r requirements.txt
	@touch $@

.venv/ready: .venv/locked pyproject.toml
	$(PY) -m pip install --quiet --no-deps --no-build-isolation -e .
	@touch $@

build/book-venv/ready: # of its own: Jupyter Book 1 wants older libraries than the lock
	@mkdir -p build
	$(call venv,build/book-venv)
	build/book-venv/bin/python -m pip install --quiet 'jupyter-book>=1.0.4,<2'
	@touch $@

define venv
@test -n "$(PYTHON)" || { echo "No Python 3.11, 3.12 or 3.13 with venv found: install one or name it with PYTHON=..."; exit 1; }
$(PYTHON) -m venv --clear $(1)
endef
