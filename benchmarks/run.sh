#!/usr/bin/env bash
# Measures everything on this machine, about twenty-five minutes; it should have nothing else to do.
#
#   bash benchmarks/run.sh                          into benchmarks/results/: *.jsonl, tables.md, speed.svg, sweep.svg
#   bash benchmarks/run.sh --rounds 2 --seconds 0   the same in a hurry; options go to every measuring script
#   benchmarks/.venv/bin/python benchmarks/speed.py --help   one of them alone
#
# Linux on x86-64. PYTHON and LSTMREG_TORCH_INDEX mean what they mean to scripts/demo.sh.
set -euo pipefail
cd "$(dirname "$0")/.."

venv=benchmarks/.venv
stamp=$venv/.installed
if [ ! -e "$stamp" ] || [ benchmarks/requirements.txt -nt "$stamp" ] || [ constraints.txt -nt "$stamp" ]; then
    echo "Installing into $venv (once; torch and TensorFlow are large) …" >&2
    [ -e "$venv/bin/python" ] || "${PYTHON:-python3}" -m venv "$venv"
    install=("$venv/bin/python" -m pip install --quiet --disable-pip-version-check)
    "${install[@]}" ${LSTMREG_TORCH_INDEX:+--index-url "$LSTMREG_TORCH_INDEX"} "$(grep '^torch==' constraints.txt)"
    grep -v '^h5py==' constraints.txt >"$venv/constraints.txt"
    "${install[@]}" -c "$venv/constraints.txt" -r benchmarks/requirements.txt -e .
    touch "$stamp"
fi

results=benchmarks/results
for measure in speed autocast keras_rivals memory sweep population population_steps; do
    "$venv/bin/python" "benchmarks/$measure.py" --results "$results" "$@"
done
"$venv/bin/python" benchmarks/draw.py --results "$results" | tee "$results/tables.md"
