#!/bin/sh
# dev-venv.sh [FOLDER]: create or update the development environment (default .venv) from locks/dev.txt and from
# locks/*-ahead.txt, packages whose metadata asks for a newer Python than ours, with this project as an editable install.
# Does nothing if it is up to date; packages that a developer added are kept.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
venv=${1:-$here/../.venv}
. "$here/python.sh"
lock=$here/locks/dev.txt
stamp=$(cat "$lock" "$here"/locks/*-ahead.txt "$here/../pyproject.toml" "$here/dev-venv.sh" | sha256sum | cut -d ' ' -f 1)
if [ "$(cat "$venv/lock-stamp" 2>/dev/null)" = "$stamp $here" ]; then exit 0; fi

uv() { sh "$here/uv.sh" "$@"; }
install() { VIRTUAL_ENV=$venv uv pip install --quiet --no-deps --python "$venv/bin/python" "$@"; }
if [ ! -x "$venv/bin/python" ]; then uv venv --quiet --python "$python" "$venv"; fi
if ! install --require-hashes -r "$lock"; then
    # Most likely PyTorch's own index is not reachable: use the build of the default index, larger and without hashes.
    echo "the pinned CPU build of torch is out of reach: trying the default build" >&2
    others=$(mktemp)
    trap 'rm -f "$others"' EXIT
    awk '/^[a-z]/ { skip = /^torch==/ } !skip' "$lock" >"$others"
    install --require-hashes -r "$others"
    env UV_TORCH_BACKEND='' sh "$here/uv.sh" pip install --quiet --python "$venv/bin/python" \
        "$(sed -n 's/^\(torch==[0-9.]*\).*/\1/p' "$lock")"
fi
for ahead in "$here"/locks/*-ahead.txt; do
    install --require-hashes --python-version 3.12 -r "$ahead"
done
install --no-build-isolation --editable "$here/.."
# Without compiled modules each start takes several seconds more. A file that fails is test data of some package.
PYTHONDONTWRITEBYTECODE='' "$venv/bin/python" -m compileall -q -j 0 "$venv/lib" >/dev/null || :
echo "$stamp $here" >"$venv/lock-stamp"
