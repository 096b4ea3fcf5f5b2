# Sourced by demo.sh and test.sh: makes .venv, the environment that both use, and activates it.
#
#   PYTHON               the interpreter to start from; default: python3
#   LSTMREG_TORCH_INDEX  another package index for torch, such as that of its CPU builds

make_environment() { # make_environment REQUIREMENT: installs it, unless that was done with the same pins
    local stamp=".venv/.installed-$(echo "$1" | tr -c 'a-z\n' '-')"
    if [ ! -e .venv/bin/activate ]; then
        "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
            echo "lstmreg needs Python 3.11 or newer; name one as PYTHON=…" >&2
            exit 2
        }
        "${PYTHON:-python3}" -m venv .venv
    fi
    # shellcheck disable=SC1091
    . .venv/bin/activate
    if [ -e "$stamp" ] && [ "$stamp" -nt constraints.txt ] && [ "$stamp" -nt pyproject.toml ]; then
        return
    fi
    echo "Installing into .venv (once; torch is large) …"
    python -m pip install --quiet --disable-pip-version-check \
        ${LSTMREG_TORCH_INDEX:+--index-url "$LSTMREG_TORCH_INDEX"} "$(grep '^torch==' constraints.txt)"
    python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e "$1"
    touch "$stamp"
}
