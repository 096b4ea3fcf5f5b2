#!/usr/bin/env bash
# Installs the oldest versions that pyproject.toml allows into .venv-oldest, and runs a short selection of the tests.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
mkdir -p .venv-oldest
"${PYTHON:-python3}" - >.venv-oldest/constraints.new <<'OLDEST'
import re, tomllib

project = tomllib.load(open("pyproject.toml", "rb"))["project"]
wanted = [*project["dependencies"], *(each for extra in project["optional-dependencies"].values() for each in extra)]
for name, version in sorted({re.fullmatch(r"([\w-]+)(?:\[\w+\])?[>=]=([\w.]+)(?:;.*)?", each).groups() for each in wanted if "=" in each}):
    print(f"{name}=={version}")
OLDEST
# Only what differs is written, so that the environment is not installed anew without need.
cmp -s .venv-oldest/constraints.new .venv-oldest/constraints.txt ||
    cp .venv-oldest/constraints.new .venv-oldest/constraints.txt
make_environment ".[test]" .venv-oldest .venv-oldest/constraints.txt
export OMP_NUM_THREADS=1
# Old libraries beside new ones that they depend on warn of much.
exec pytest -n "${LSTMREG_TEST_WORKERS:-auto}" --dist worksteal -W ignore --doctest-modules \
    tests/test_house.py tests/layers/test_lstm.py tests/layers/test_pytorch.py tests/ops/test_ops.py \
    tests/interop/test_pytorch.py tests/training/test_single.py tests/test_population.py \
    tests/search/test_space.py tests/search/test_storage.py tests/report tests/test_cli.py "$@"
