#!/usr/bin/env bash
# Tests the GPU's code on a GPU, and measures it, with nothing to download; meant to take less than ten minutes.
#
#   bash benchmarks/gpu.sh                       into benchmarks/results/gpu.jsonl and gpu.md
#   PYTHON=python3.12 bash benchmarks/gpu.sh /tmp/results   with another Python, into another folder
#
# That Python needs torch for CUDA (with its Triton), NumPy, pytest and Lightning; lstmreg need not be installed.
set -euo pipefail
cd "$(dirname "$0")/.."
python="${PYTHON:-python3}"
results="${1:-benchmarks/results}"
export PYTHONPATH="$PWD${PYTHONPATH:+:$PYTHONPATH}"
"$python" -c 'import torch, triton' || { echo "$python needs torch for CUDA; name another as PYTHON=…" >&2; exit 2; }
"$python" -c 'import sys, torch; sys.exit(None if torch.cuda.is_available() else "There is no GPU that torch sees.")'

# Kernels are compiled by as many processes as there are cores; what warns is another version's affair.
workers=()
cores="$(nproc)"
"$python" -c 'import xdist' 2>/dev/null && workers=(-n "${LSTMREG_TEST_WORKERS:-$((cores < 8 ? cores : 8))}" --dist worksteal)
export CUBLAS_WORKSPACE_CONFIG=:4096:8 # or older versions of torch refuse products where memory is filled with NaN
"$python" -m pytest -q -p no:cacheprovider -o filterwarnings=default "${workers[@]}" \
    tests/ops/test_triton.py tests/ops/test_triton_compiles.py tests/test_cuda.py

if command -v compute-sanitizer >/dev/null; then
    # Without torch's cache of memory, each tensor has an allocation of its own, outside of which nothing may be touched.
    PYTORCH_NO_CUDA_MEMORY_CACHING=1 compute-sanitizer --tool memcheck --error-exitcode 1 \
        "$python" -m pytest -q -p no:cacheprovider -o filterwarnings=default tests/ops/test_triton.py -k test_every_size
else
    echo "compute-sanitizer is not there, so nothing looked for accesses outside of tensors." >&2
fi

"$python" benchmarks/gpu.py --results "$results"
"$python" benchmarks/gpu.py --results "$results" --table | tee "$results/gpu.md"
