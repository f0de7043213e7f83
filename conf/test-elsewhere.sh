#!/bin/sh
# Run tests as on another machine: a copy of the checkout with nothing beside it, LANG=C, no bytecode, a home
# that cannot be written, and instructions of the CPU up to ISA (AVX2 where it is not set).
# $1 is the environment; what follows is pytest's.
set -eu
python=$(cd "$1/bin" && pwd)/python
shift
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/checkout" "$folder/tmp"
tar -cf - --exclude=./.git --exclude='./.venv*' --exclude=./demo --exclude=./runs --exclude='*_cache' . |
    tar -xf - -C "$folder/checkout"
home=$folder/home
mkdir -m 555 "$home"
# Root may write anywhere but in the kernel's own folders.
if [ "$(id -u)" = 0 ] && [ -d /sys/kernel ]; then home=/sys/kernel; fi
cd "$folder/checkout"
env -i PATH="$PATH" HOME="$home" TMPDIR="$folder/tmp" LANG=C LC_ALL=C PYTHONDONTWRITEBYTECODE=1 \
    PYTHONPATH="$folder/checkout" ONEDNN_MAX_CPU_ISA="${ISA:-AVX2}" ${JAVA_HOME:+JAVA_HOME="$JAVA_HOME"} \
    "$python" -m pytest -p no:cacheprovider "$@"
