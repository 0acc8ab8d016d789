#!/usr/bin/env bash
# Builds .venv from requirements.lock and installs this checkout into it, editable. Does nothing when that is
# already so. Installs the system's EGL library when it may (root on Debian or Ubuntu), else says what to do.
set -euo pipefail
cd "$(dirname "$0")/.."

find_python() {
  local candidate
  for candidate in ${PYTHON:-} python3.11 python3.12 python3.13 python3; do
    if "$candidate" -c 'import sys, venv; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
      echo "$candidate"
      return
    fi
  done
  echo "error: no Python 3.11, 3.12 or 3.13 with venv found. Install one (Debian, Ubuntu: apt-get install python3 python3-venv)" >&2
  echo "       or name one: make PYTHON=/path/to/python3.11 ..." >&2
  exit 1
}

need_library() { # library file, Debian packages
  ldconfig -p 2>/dev/null | grep -q "$1" && return
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "set-up: installing $2 (for $1)"
    { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $2; } >/dev/null
  else
    echo "error: the system library $1 is missing. Install it, e.g. on Debian or Ubuntu: sudo apt-get install $2" >&2
    exit 1
  fi
}

need_library libEGL.so.1 "libegl1 libgl1-mesa-dri"
need_library libGL.so.1 "libgl1"
need_library libusb-1.0.so.0 "libusb-1.0-0"  # pyrealsense2

wanted=$(cat requirements.lock pyproject.toml ros2_ws/src/*/setup.py tools/setup.sh | sha256sum | cut -d' ' -f1)
if [ "$(cat .venv/.installed 2>/dev/null)" = "$wanted" ]; then exit 0; fi

started=$SECONDS
python=$(find_python)
echo "set-up: building .venv with $("$python" --version) (once, about two minutes and 2 GB)"
if ! .venv/bin/python -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null; then
  rm -rf .venv
  "$python" -m venv .venv
fi
log=.venv/set-up.log
install() {
  if ! .venv/bin/python -m pip install --disable-pip-version-check --no-input "$@" >>"$log" 2>&1; then
    tail -n 20 "$log" >&2
    echo "error: the installation failed; the whole log is in $log" >&2
    exit 1
  fi
}
: >"$log"
# Where no CPU-only build of torch is offered, the same pin brings the CUDA build: larger, and right as well.
install -r requirements.lock
editable=()
for package in ros2_ws/src/*/; do editable+=(-e "$package"); done
install --no-deps --no-build-isolation "${editable[@]}" -e .
echo "$wanted" >.venv/.installed
echo "set-up: done in $((SECONDS - started)) s"
