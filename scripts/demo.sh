#!/usr/bin/env bash
# Installs lstmreg into .venv and answers, on real data: which regularization does this LSTM need?
set -euo pipefail
cd "$(dirname "$0")/.."
. scripts/environment.sh
make_environment .
exec lstmreg demo "$@"
