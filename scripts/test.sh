#!/usr/bin/env bash
# Installs lstmreg with its test tools into .venv, checks style and types, and runs the tests.
# Arguments go to pytest: `bash scripts/test.sh -m storm` runs the long ones.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
make_environment ".[test]"
ruff check .
ruff format --check .
mypy
# One thread for each worker: two that wait for each other on a busy machine are far slower than one.
export OMP_NUM_THREADS=1
exec pytest -n "${LSTMREG_TEST_WORKERS:-auto}" --dist worksteal "$@"
