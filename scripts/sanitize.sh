#!/usr/bin/env bash
# Compiles the C++ with g++'s sanitizers of addresses and of undefined behaviour, into a cache of its own, and runs tests of
# the recurrence with it; a finding ends them. Arguments go to pytest: `bash scripts/sanitize.sh tests/ops/test_half.py`.
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
make_environment ".[test]"
LSTMREG_CACHE="$(mktemp -d)"
trap 'rm -rf "$LSTMREG_CACHE"' EXIT
export LSTMREG_CACHE OMP_NUM_THREADS=1
# The compiler itself is not to be watched: that would make it many times as slow.
export CXX="env -u LD_PRELOAD g++ -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer -g"
libraries="$(g++ -print-file-name=libasan.so) $(g++ -print-file-name=libubsan.so) $(g++ -print-file-name=libstdc++.so)"
# Python lets go of little when it ends, which is no leak of ours.
settings="detect_leaks=0:halt_on_error=1"
[ $# -gt 0 ] || set -- tests/ops/test_half.py tests/ops/test_backends.py
LD_PRELOAD="$libraries" ASAN_OPTIONS="$settings" UBSAN_OPTIONS="print_stacktrace=1" pytest -n 0 -p no:cacheprovider "$@"
