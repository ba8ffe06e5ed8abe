#!/bin/sh
# uv.sh ARGUMENT...: run the pinned uv with the source of torch's CPU build. pip downloads uv once.
# uv reads neither pip.conf nor pip's environment variables, so this script passes pip's settings on to uv.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/python.sh"
version=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' "$here/locks/uv.txt")
home=${XDG_CACHE_HOME:-$HOME/.cache}/taos-tsfm/uv-$version
if [ ! -x "$home/bin/uv" ]; then
    mkdir -p "$(dirname "$home")"
    fresh=$(mktemp -d --tmpdir="$(dirname "$home")")
    # --target also works where the distribution does not allow pip to change the system's environment.
    PIP_ROOT_USER_ACTION=ignore $pip install --quiet --require-hashes --no-deps --target "$fresh" -r "$here/locks/uv.txt" >&2
    mv -T "$fresh" "$home" 2>/dev/null || rm -rf "$fresh" # another build created it first
fi

# TORCH_WHEEL_DIR: a folder with torch's wheel for the architecture ARCH.
links="${TORCH_WHEEL_DIR:-} ${PIP_FIND_LINKS:-$($pip config get global.find-links 2>/dev/null || :)}"
case ${ARCH:-} in
    amd64) machine=x86_64 ;;
    arm64) machine=aarch64 ;;
    *) machine=$(uname -m) ;;
esac
torch=$(sed -n 's/^torch==\([^ ]*\).*/\1/p' "$here/locks/runtime.in")
UV_TORCH_BACKEND=${UV_TORCH_BACKEND-cpu} # uv's name for PyTorch's own index of CPU builds
for place in $links; do
    # If a folder contains the wheel, that index is not needed, and the build works without a network.
    for wheel in "$place/torch-$torch-"*"_$machine.whl"; do
        if [ -e "$wheel" ]; then UV_TORCH_BACKEND=; fi
    done
done
if [ -n "$UV_TORCH_BACKEND" ]; then export UV_TORCH_BACKEND; else unset UV_TORCH_BACKEND; fi
UV_FIND_LINKS=$(echo $links | tr -s ' ' ',')
if [ -n "$UV_FIND_LINKS" ]; then export UV_FIND_LINKS; else unset UV_FIND_LINKS; fi
UV_PYTHON=${UV_PYTHON:-$python} UV_NO_CONFIG=1 UV_PYTHON_DOWNLOADS=never exec "$home/bin/uv" "$@"
