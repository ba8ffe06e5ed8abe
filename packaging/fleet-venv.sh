#!/bin/sh
# fleet-venv.sh FOLDER VENV: create or update the environment of locks/fleet.txt in FOLDER, a layer on the development
# environment VENV, as the package's is one on the runtime.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
folder=$1
. "$here/python.sh"
packages=lib/python3.11/site-packages
if [ ! -x "$folder/bin/python" ]; then sh "$here/uv.sh" venv --quiet --python "$python" "$folder"; fi
sh "$here/uv.sh" pip install --quiet --no-deps --require-hashes --python "$folder/bin/python" -r "$here/locks/fleet.txt"
printf '%s\n' "$(realpath "$here/../src")" "$(realpath "$2/$packages")" >"$folder/$packages/_development.pth"
PYTHONDONTWRITEBYTECODE='' "$folder/bin/python" -m compileall -q -j 0 "$folder/lib" >/dev/null || : # test data of some package
touch "$folder"
