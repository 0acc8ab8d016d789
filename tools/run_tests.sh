#!/usr/bin/env bash
# Runs the tests and says how long they took.
set -euo pipefail
cd "$(dirname "$0")/.."
started=$SECONDS
echo "tests: unit and parity (no ROS), over real ROS 2 between processes, under faults, and the whole way end to end"
status=0
.venv/bin/python -m pytest "$@" || status=$?
echo "tests: $((SECONDS - started)) s"
exit $status
