#!/bin/sh
# Writes requirements-dev.lock: a version, and the hashes of its files, for everything that pyproject.toml
# asks for in development, its group `dev` and every extra, on every Python and system that it allows; and
# the same for the servers that tests install by themselves, of what scripts/servers/*.in ask for.
# Versions stay as they are where they can; --upgrade takes the newest, --upgrade-package NAME one. Uses
# uv, or fetches one for the while.
set -eu
cd "$(dirname "$0")/.."

tools=
if ! command -v uv >/dev/null 2>&1; then
    tools=$(mktemp -d)
    trap 'rm -rf "$tools"' EXIT
    trap 'exit 1' HUP INT TERM
    "${PYTHON:-python3}" -m venv "$tools"
    "$tools/bin/python" -m pip install -q --disable-pip-version-check uv
fi
export UV_CUSTOM_COMPILE_COMMAND='make lock'
PATH="${tools:+$tools/bin:}$PATH"

# locked FILE WHAT...: what is asked for, on every Python and system, into a file.
locked() {
    file=$1
    shift
    uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
        --no-emit-find-links --output-file "$file" "$@"
}

locked requirements-dev.lock --group dev --all-extras "$@" pyproject.toml
for asked in scripts/servers/*.in; do locked "${asked%.in}.lock" "$@" "$asked"; done
