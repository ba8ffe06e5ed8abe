#!/bin/sh
# uv.sh ARGUMENT...: the pinned uv, fetched once by pip, told where torch's CPU build comes from.
# uv reads neither pip.conf nor pip's environment, so what pip is told is passed on.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
. "$here/python.sh"
version=$(sed -n 's/^uv==\([^ ]*\).*/\1/p' "$here/locks/uv.txt")
home=${XDG_CACHE_HOME:-$HOME/.cache}/taos-tsfm/uv-$version
if [ ! -x "$home/bin/uv" ]; then
    mkdir -p "$(dirname "$home")"
    fresh=$(mktemp -d --tmpdir="$(dirname "$home")")
    # --target works where the distribution forbids pip to touch its own environment.
    PIP_ROOT_USER_ACTION=ignore $pip install --quiet --require-hashes --no-deps --target "$fresh" -r "$here/locks/uv.txt" >&2
    mv -T "$fresh" "$home" 2>/dev/null || rm -rf "$fresh" # another build was faster
fi

links=${PIP_FIND_LINKS:-$($pip config get global.find-links 2>/dev/null || :)}
torch=$(sed -n 's/^torch==\([^ ]*\).*/\1/p' "$here/locks/runtime.in")
UV_TORCH_BACKEND=${UV_TORCH_BACKEND-cpu} # PyTorch's own index of CPU builds, by name
for place in $links; do
    # A folder that holds the wheel makes that index unnecessary, and works without a network.
    for wheel in "$place/torch-$torch-"*.whl; do
        if [ -e "$wheel" ]; then UV_TORCH_BACKEND=; fi
    done
done
if [ -n "$UV_TORCH_BACKEND" ]; then export UV_TORCH_BACKEND; else unset UV_TORCH_BACKEND; fi
if [ -n "$links" ]; then UV_FIND_LINKS=$(echo "$links" | tr -s ' \n' ','); export UV_FIND_LINKS; fi
UV_PYTHON=${UV_PYTHON:-$python} UV_NO_CONFIG=1 UV_PYTHON_DOWNLOADS=never exec "$home/bin/uv" "$@"
