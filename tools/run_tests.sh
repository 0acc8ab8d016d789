#!/usr/bin/env bash
# Runs the tests and says how long they took.
set -euo pipefail
cd "$(dirname "$0")/.."
started=$SECONDS
echo "tests: unit and parity (no ROS), over real ROS 2 between processes, faults, and the whole way end to end"
status=0
# The quick ones first: when they fail, the rest says little.
.venv/bin/python -m pytest tests/test_boundaries.py tests/unit tests/parity tests/ros tests/faults tests/e2e "$@" || status=$?
echo "tests: $((SECONDS - started)) s"
exit $status
