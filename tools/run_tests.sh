#!/usr/bin/env bash
# Runs the tests and says how long they took.
set -euo pipefail
cd "$(dirname "$0")/.."
started=$SECONDS
echo "tests: unit and parity (no ROS), over real ROS 2 between processes, faults, and the whole way end to end"
status=0
# What computes shares the cores, a file to a process and a thread to each; what runs over ROS is about time, so it runs
# alone. First what is longest, so that both processes end at about the same time.
tests="tests/e2e tests/test_boundaries.py tests/unit tests/parity tests/faults tests/ros"
if [ $# -eq 0 ]; then
  OMP_NUM_THREADS=1 .venv/bin/python -m pytest -n 2 --dist loadfile -m "not real_time" $tests || status=$?
  .venv/bin/python -m pytest -m real_time $tests || status=$?
else
  .venv/bin/python -m pytest $tests "$@" || status=$?
fi
echo "tests: $((SECONDS - started)) s"
exit $status
