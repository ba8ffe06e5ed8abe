#!/bin/sh
# int8.sh FILE [optional]: compile the kernel of dtype = int8 (src/tsfm/nets/int8.c) for x86_64, unless FILE is newer.
# It needs no C library of any version, so one file runs with all of them, and has neither dates nor paths in it.
# With "optional" nothing happens on another machine or without gcc: dtype = int8 is refused there.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
source=$here/../src/tsfm/nets/int8.c
if [ -e "$1" ] && [ -z "$(find "${source%.c}"*.[ch] "$0" -newer "$1")" ]; then exit 0; fi
compiler=$(command -v x86_64-linux-gnu-gcc || command -v gcc || :)
if [ "${2:-}" = optional ] && { [ -z "$compiler" ] || [ "$(uname -m)" != x86_64 ]; }; then exit 0; fi
[ -n "$compiler" ] || { echo "gcc not found: install gcc" >&2; exit 1; }
"$compiler" -std=gnu11 -O2 -Wall -Wextra -Werror -mfma -mavx512f -mavx512bw -mavx512dq -mavx512vl -mavx512vnni \
    -shared -fPIC -nostdlib -s -Wl,--build-id=none -o "$1.new" "$source"
mv "$1.new" "$1"
