# Sourced by the other scripts: makes an environment with exact versions, and activates it.
#
#   PYTHON               the interpreter to start from; default: python3
#   LSTMREG_TORCH_INDEX  another package index for torch, such as that of its CPU builds

# make_environment REQUIREMENT [FOLDER [CONSTRAINTS]]: installs it, unless that was done with the same pins.
make_environment() {
    local folder="${2:-.venv}" constraints="${3:-constraints.txt}"
    local stamp="$folder/.installed-$(echo "$1" | tr -c 'a-z\n' '-')"
    if [ ! -e "$folder/bin/activate" ]; then
        "${PYTHON:-python3}" -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
            echo "lstmreg needs Python 3.11 or newer; name one as PYTHON=…" >&2
            exit 2
        }
        "${PYTHON:-python3}" -m venv "$folder"
    fi
    # shellcheck disable=SC1091
    . "$folder/bin/activate"
    if [ -e "$stamp" ] && [ "$stamp" -nt "$constraints" ] && [ "$stamp" -nt pyproject.toml ]; then
        return
    fi
    echo "Installing into $folder (once; torch is large) …"
    python -m pip install --quiet --disable-pip-version-check \
        ${LSTMREG_TORCH_INDEX:+--index-url "$LSTMREG_TORCH_INDEX"} "$(grep '^torch==' "$constraints")"
    python -m pip install --quiet --disable-pip-version-check -c "$constraints" -e "$1"
    touch "$stamp"
}
