#!/usr/bin/env bash
# Resolves requirements.in in a fresh environment and writes every version to requirements.lock.
set -euo pipefail
cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"${PYTHON:-python3}" -m venv "$scratch"
"$scratch/bin/python" -m pip install --quiet -r requirements.in
{
  echo "# Exact versions that are tested together, for Python 3.11 to 3.13 (pip install -r requirements.lock)."
  echo "# Renew with: make lock"
  "$scratch/bin/python" tools/lock_lines.py
} >requirements.lock
