#!/bin/sh
# Create the virtual environment: uv from pip, the locked packages by hash, then the project in editable mode.
# usage: sh tools/setup.sh VENV UV [TORCH]
set -eu
venv=$1
uv=$2
torch=${3:-}

case $torch in
"" | cpu) ;;
*) echo "error: TORCH=$torch is not known; give TORCH=cpu, or leave it out for the torch of the lock" >&2; exit 2 ;;
esac

[ -e .git ] || { echo "error: this is no git clone, and DVC works in one; run: git init && git add -A && git commit -m start" >&2; exit 1; }

python=
for candidate in python3.12 python3.11 python3; do
    if command -v "$candidate" >/dev/null 2>&1 &&
        "$candidate" -c 'import sys, venv; sys.exit(sys.version_info[:2] not in ((3, 11), (3, 12)))' 2>/dev/null; then
        python=$candidate
        break
    fi
done
[ -n "$python" ] || { echo "error: Python 3.11 or 3.12 with venv is needed and none is on the PATH" >&2; exit 1; }

if [ "$(uname -s)" = Linux ] && ! "$python" -c 'import ctypes; ctypes.CDLL("libGL.so.1"); ctypes.CDLL("libgthread-2.0.so.0")' 2>/dev/null; then
    echo "error: OpenCV needs libGL.so.1 and libgthread-2.0.so.0; on Debian or Ubuntu: apt-get install libgl1 libglib2.0-0" >&2
    exit 1
fi

echo "setting up $venv with $($python --version) (two minutes)"
"$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check "$uv"
sh tools/install.sh "$venv" "$torch"
