# Two commands matter: `make demo` and `make test`. Both build .venv first, if it is not there.
PY := .venv/bin/python
export MUJOCO_GL ?= egl
# One ROS at a time: the wheels in .venv bring their own, so a sourced installation is kept out.
unexport PYTHONPATH
unexport AMENT_PREFIX_PATH
ifdef ROS_DISTRO
unexport LD_LIBRARY_PATH
endif

.PHONY: help setup demo test check bench soak results lock clean
.DEFAULT_GOAL := help

help:  ## show this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*## /\t/' | expand -t 12

setup:  ## build .venv (the other targets do it too)
	@tools/setup.sh

demo: setup  ## record, annotate, train, deploy and report on the simulated arm
	@$(PY) -m autofocus_cli.main demo $(ARGS)

test: setup  ## run every test
	@tools/run_tests.sh $(ARGS)

check: setup  ## lint
	@$(PY) -m ruff check .

bench: export AUTOFOCUS_RECORD := 1
bench: setup  ## measure the figures in benchmarks/results anew (about two hours on 2 idle cores)
	@$(PY) benchmarks/annotation.py
	@$(PY) benchmarks/saliency_tracking.py
	@$(PY) benchmarks/saliency.py
	@$(PY) benchmarks/simulation.py
	@$(PY) benchmarks/realsense.py
	-@$(PY) benchmarks/recorder.py  # a target that is missed is on record: go on
	-@$(PY) benchmarks/policy.py
	-@$(PY) benchmarks/training.py
	@AUTOFOCUS_FUZZ_SEQUENCES=1000000 $(PY) -m pytest -q --timeout 1800 tests/unit/test_guard_fuzz.py
	@$(PY) -m pytest -q tests/unit/test_guard_limiter.py tests/ros/test_guard_node.py tests/faults tests/ros/test_record_screen.py
	@$(PY) -m autofocus_cli.main demo --record-results --out runs/bench
	@$(PY) -m autofocus_cli.main results

soak: setup  ## record episodes for half an hour, with splits, a SIGKILL and a restarted publisher (ARGS="--minutes 5")
	@$(PY) benchmarks/recorder_soak.py $(ARGS)

results: setup  ## print the figures measured so far
	@$(PY) -m autofocus_cli.main results

lock:  ## resolve requirements.in into requirements.lock
	@tools/lock.sh

clean:  ## remove .venv and runs
	rm -rf .venv runs
