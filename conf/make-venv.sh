#!/bin/sh
# Build the environment of conf/requirements.lock in the folder $1, or do nothing where it is
# up to date. Its file .built-from says what it was built from.
set -eu
venv=$1
uv_version=0.13.8
built_from="$(cat conf/requirements.lock setup.py | cksum) $PWD"
if [ "$(cat "$venv/.built-from" 2>/dev/null || true)" = "$built_from" ]; then
    exit 0
fi

suitable() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info < (3, 13))' >/dev/null 2>&1
}
if [ ! -x "$venv/bin/python" ]; then
    python=
    for candidate in ${PYTHON:-python3.11 python3.12 python3}; do
        if suitable "$candidate"; then python=$candidate; break; fi
    done
    if [ -z "$python" ]; then
        echo "Python 3.11 or 3.12 is needed and none of '${PYTHON:-python3.11 python3.12 python3}' is one." \
             "Install it, e.g. 'sudo apt install python3.11 python3.11-venv' (Debian, Ubuntu)," \
             "'brew install python@3.11' (macOS), or name one: make PYTHON=/path/to/python3.11" >&2
        exit 4
    fi
    if ! "$python" -c 'import ensurepip, venv' >/dev/null 2>&1; then
        echo "$python cannot make environments: install its venv module," \
             "e.g. 'sudo apt install python3-venv'" >&2
        exit 4
    fi
    echo "making $venv with $("$python" --version)"
    "$python" -m venv "$venv"
fi

echo "installing conf/requirements.lock into $venv (about 3 GB; minutes the first time)"
# The system's certificates, so that networks which replace them work too.
export UV_SYSTEM_CERTS=1 PIP_DISABLE_PIP_VERSION_CHECK=1
if "$venv/bin/python" -m pip install --quiet "uv==$uv_version" &&
   "$venv/bin/python" -m uv pip install --quiet --compile-bytecode --python "$venv/bin/python" -r conf/requirements.lock
then :
else
    echo "uv could not do it; once more with pip, which is slower"
    "$venv/bin/python" -m pip install --quiet -r conf/requirements.lock
fi
echo "installing elodin_spark itself"
"$venv/bin/python" -m pip install --quiet --no-deps --no-build-isolation --editable .
# Whatever PYTHONDONTWRITEBYTECODE says: without it each start compiles what it imports.
"$venv/bin/python" -m compileall -q elodin_spark || true
echo "$built_from" > "$venv/.built-from"
echo "$venv is ready"
