# 'make help' lists the targets. VENV=FOLDER puts the environment elsewhere.
VENV ?= .venv
BIN := $(VENV)/bin
PETASTORM_VENV ?= $(VENV)-petastorm
DEMO ?= demo
# Folder of the frames of one SDSS field, for two of the figures.
FIELD ?=
# A process that dies is a failure at once; pytest-xdist may wait for ever after replacing one.
# tests/conftest.py puts the files that take longest first.
PYTEST_ARGS ?= --numprocesses=3 --dist=loadfile --no-loadscope-reorder --max-worker-restart=0
LOCK_ARGS ?=

.DEFAULT_GOAL := help
.NOTPARALLEL:
.PHONY: help java venv demo test test-slow test-all test-petastorm test-elsewhere lint docs dist lock lock-check figures clean

help:  ## show this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "%-14s %s\n", $$1, $$2}' $(firstword $(MAKEFILE_LIST))

java:
	@sh conf/check-java.sh

venv:  ## build .venv from conf/requirements.lock
	@sh conf/make-venv.sh $(VENV)

demo: java venv  ## simulate a small survey and find look-alikes in it, in ./demo
	@$(BIN)/elodin-spark demo $(DEMO)

test: java venv  ## run the tests of every day: under ten minutes on two cores
	@$(BIN)/python -m pytest -m "not slow" $(PYTEST_ARGS)

test-slow: java venv  ## run all other tests
	@sh conf/check-browser.sh || true
	@$(BIN)/python -m pytest -m slow $(PYTEST_ARGS)

test-all: test test-slow  ## run all tests: these two, one after the other

test-petastorm: java  ## run the tests of petastorm and of Spark in petastorm's older environment
	@sh conf/make-venv.sh $(PETASTORM_VENV) conf/petastorm.lock
	@$(PETASTORM_VENV)/bin/python -c "from elodin_spark.learning.feed import load_petastorm; load_petastorm()"
	@$(PETASTORM_VENV)/bin/python -m pytest tests/unit/learning/test_feed.py tests/spark $(PYTEST_ARGS)

test-elsewhere: java venv  ## run the tests of every day as on a plainer machine: AVX2, LANG=C, no home, no data beside
	@sh conf/test-elsewhere.sh $(VENV) -m "not slow" $(PYTEST_ARGS)

lint: venv  ## check style and types
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

docs: venv  ## build the pages of docs/ into docs/_build/html; a warning is an error
	@$(BIN)/python -m sphinx -b html -W --keep-going -q -d docs/_build/doctrees docs docs/_build/html
	@echo "docs/_build/html/index.html"

dist: venv  ## build wheel and sdist into ./dist, and check both
	@rm -rf build dist
	@$(BIN)/python -m build --no-isolation . >/dev/null
	@$(BIN)/python conf/check_dist.py dist

# Versions stay where they can; LOCK_ARGS=--upgrade takes the newest there are.
COMPILE = UV_SYSTEM_CERTS=1 $(BIN)/python -m uv pip compile --quiet pyproject.toml \
	--python-version 3.11 --no-emit-index-url --custom-compile-command "make lock"
SMALL = --extra http --extra pictures --extra color --extra sources --extra equalize --extra moc
LOCK = $(COMPILE) --universal --extra cpu --extra openvino --extra jax --extra explore --extra browser --extra simulate --extra s3 \
	--extra texture --extra notebooks --extra docs --extra dev $(SMALL)
PETASTORM_LOCK = $(COMPILE) --extra cpu --extra simulate --extra petastorm --extra dev $(SMALL)

lock: venv  ## resolve conf/requirements.lock and conf/petastorm.lock again
	@$(LOCK) $(LOCK_ARGS) -o conf/requirements.lock
	@$(PETASTORM_LOCK) $(LOCK_ARGS) -o conf/petastorm.lock

lock-check: venv  ## see whether both locks fit pyproject.toml
	@cp conf/requirements.lock conf/petastorm.lock $(VENV)
	@$(LOCK) -o $(VENV)/requirements.lock
	@$(PETASTORM_LOCK) -o $(VENV)/petastorm.lock
	@cmp conf/requirements.lock $(VENV)/requirements.lock
	@cmp conf/petastorm.lock $(VENV)/petastorm.lock

figures: demo  ## draw the pictures of the README and the docs again
	@$(BIN)/python docs/draw_architecture.py docs/images
	@$(BIN)/python docs/draw_examples.py $(DEMO) docs/images
	@$(BIN)/python docs/draw_figures.py $(DEMO) docs/images
	@$(BIN)/python docs/draw_explorer.py $(DEMO)/catalog docs/images $(DEMO)/survey/truth.csv
	@$(BIN)/python docs/draw_quality.py docs/images
	@if [ -n "$(FIELD)" ]; then \
		$(BIN)/python docs/draw_color.py "$(FIELD)" docs/images && \
		$(BIN)/python docs/draw_sources.py "$(FIELD)" docs/images; \
	else \
		echo "color.jpg and sources.jpg stay as they are; FIELD=FOLDER, the frames of an SDSS field, draws them"; \
	fi

clean:  ## remove the environment, caches and the demonstration
	@rm -rf $(VENV) $(PETASTORM_VENV) $(DEMO) build dist docs/_build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
