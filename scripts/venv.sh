#!/bin/sh
# Makes .venv with everything that check, test and demo need, once, and again when pyproject.toml or
# the lock changes, in the versions of the lock (scripts/lock.sh). Uses uv when present, else venv and
# pip. PYTHON names an interpreter to try first.
set -eu
cd "$(dirname "$0")/.."

say() { echo "venv: $*" >&2; }
fail() { say "$*"; exit 1; }

# The folder belongs to the stamp: a copied .venv still points into the tree it was copied from.
wanted="$(cat pyproject.toml requirements-dev.lock | cksum) $(pwd -P)"
current() { [ "$(cat .venv/.installed 2>/dev/null)" = "$wanted" ] && of_python; }

have() { command -v "$1" >/dev/null 2>&1; }

# Whether .venv runs, and is of the interpreter that PYTHON names, where it names one that would do.
of_python() {
    made=$(version .venv/bin/python) || return 1
    named=$(version "${PYTHON:-.venv/bin/python}") || return 0
    [ "$named" = "$made" ]
}

# Of an interpreter that runs and is new enough, its real path and its version; a shim may do neither.
real() { told_by "$1" executable; }
version() { told_by "$1" version; }
told_by() {
    "$1" -c "import sys; sys.version_info >= (3, 11) or sys.exit(1); print(sys.$2)" 2>/dev/null
}

find_python() {
    for name in ${PYTHON:-} python3.14 python3.13 python3.12 python3.11 python3; do
        if real "$name"; then return; fi
    done
    return 1
}

# Debian and Ubuntu ship Python without ensurepip, which `python -m venv` needs.
need_ensurepip() {
    "$1" -c 'import ensurepip, venv' 2>/dev/null && return
    package="python$("$1" -c 'import sys; print("%d.%d" % sys.version_info[:2])')-venv"
    if ! have apt-get || [ "$(id -u)" != 0 ]; then
        fail "$1 cannot make virtual environments; on Debian and Ubuntu: apt-get install $package"
    fi
    say "$1 cannot make virtual environments: installing $package with apt-get"
    export DEBIAN_FRONTEND=noninteractive
    { apt-get -qq update && apt-get -qq install -y --no-install-recommends "$package"; } >&2 ||
        fail "apt-get could not install $package"
}

make_venv() {
    python=$(find_python) || python=
    if have uv; then
        uv venv -q --clear --python "${python:->=3.11}" .venv
        return
    fi
    [ -n "$python" ] || fail "no Python 3.11 or later found; install one, or name it: make PYTHON=/path/to/python"
    need_ensurepip "$python"
    "$python" -m venv --clear .venv
}

usable() {
    of_python || return 1
    have uv || .venv/bin/python -m pip --version >/dev/null 2>&1 || return 1
    # No stamp: somebody made it by hand, here. A stamp of another folder: a copy.
    [ ! -e .venv/.installed ] || grep -q " $(pwd -P)\$" .venv/.installed
}

get() {
    if have uv; then
        uv pip install -q --python .venv/bin/python "$@"
    else
        .venv/bin/python -m pip install -q --disable-pip-version-check "$@"
    fi
}

# What builds busauth is in the lock, too: nothing is fetched that it does not name.
install() {
    get --require-hashes -r requirements-dev.lock && get --no-deps --no-build-isolation -e .
}

# One at a time; a lock whose owner is gone is taken over.
lock() {
    while ! mkdir .venv.lock 2>/dev/null; do
        owner=$(cat .venv.lock/pid 2>/dev/null || echo none)
        if [ "$owner" != none ] && ! kill -0 "$owner" 2>/dev/null; then rm -rf .venv.lock; fi
        sleep 1
    done
    echo $$ >.venv.lock/pid
    trap 'rm -rf .venv.lock' EXIT
    trap 'exit 1' HUP INT TERM
}

current && exit 0
if [ -L .venv ]; then fail ".venv is a link, and what it leads to is somebody else's: remove the link"; fi
if [ ! -w . ] || { [ -e .venv ] && [ ! -w .venv ]; }; then
    fail "$(pwd) or its .venv is not writable for $(id -un): run this as its owner, or use a clone of your own"
fi
lock
current && exit 0
usable || make_venv
say "installing into .venv ($(.venv/bin/python -V))"
install || fail "installing failed; the lines above say why"
echo "$wanted" >.venv/.installed
