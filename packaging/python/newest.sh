#!/bin/sh
# newest.sh NAME...: for each source package print "NAME VERSION STATE": the newest version that the suite lists, and
# "delivered" or "listed" (the mirror lists it but has no such file).
set -eu
own=$(cd "$(dirname "$0")" && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
. "$own/suite.sh"
apt apt-get update
cd "$work"
for name in "$@"; do
    newest=$(apt apt-cache showsrc "$name" | sed -n 's/^Version: //p' | sort -uV | tail -n 1)
    if apt apt-get source --download-only --dsc-only "$name=$newest" >/dev/null 2>&1; then state=delivered; else state=listed; fi
    echo "$name $newest $state"
done
