#!/bin/sh
# Build the environment of a lock in the folder $1, or do nothing where it is up to date. The lock $2 is
# conf/requirements.lock where it is not given. The folder's file .built-from says what it was built from.
set -eu
venv=$1
lock=${2:-conf/requirements.lock}
uv_version=0.13.8
built_from="$(cat "$lock" pyproject.toml | cksum) $PWD"
if [ "$(cat "$venv/.built-from" 2>/dev/null || true)" = "$built_from" ]; then
    exit 0
fi

case $lock in
*petastorm.lock)
    # Its packages have no wheels for newer ones.
    needed="Python 3.11 is needed for petastorm" example=3.11 newest=11
    candidates="${PYTHON:-} python3.11 python3"
    # petastorm wants a setuptools that is too old to build this package.
    isolation=
    ;;
*)
    needed="Python 3.11, 3.12 or 3.13 is needed" example=3.12 newest=13
    candidates=${PYTHON:-python3.12 python3.13 python3.11 python3}
    isolation=--no-build-isolation
    ;;
esac

suitable() {
    "$1" -c "import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, $newest))" >/dev/null 2>&1
}
if [ ! -x "$venv/bin/python" ]; then
    python=
    for candidate in $candidates; do
        if suitable "$candidate"; then python=$candidate; break; fi
    done
    if [ -z "$python" ]; then
        echo "$needed and none of '$candidates' is one." \
             "Install it, e.g. 'sudo apt install python$example python$example-venv' (Debian, Ubuntu)," \
             "'brew install python@$example' (macOS), or name one: make PYTHON=/path/to/python$example" >&2
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

echo "installing $lock into $venv (about 3 GB; minutes the first time)"
# The system's certificates, so that networks which replace them work too.
export UV_SYSTEM_CERTS=1 PIP_DISABLE_PIP_VERSION_CHECK=1
if "$venv/bin/python" -m pip install --quiet "uv==$uv_version" &&
   "$venv/bin/python" -m uv pip install --quiet --compile-bytecode --python "$venv/bin/python" -r "$lock"
then :
else
    echo "uv could not do it; once more with pip, which is slower"
    "$venv/bin/python" -m pip install --quiet -r "$lock"
fi
echo "installing elodin_spark itself"
"$venv/bin/python" -m pip install --quiet --no-deps $isolation --editable .
# Whatever PYTHONDONTWRITEBYTECODE says: without it each start compiles what it imports.
"$venv/bin/python" -m compileall -q elodin_spark || true
echo "$built_from" > "$venv/.built-from"
echo "$venv is ready"
