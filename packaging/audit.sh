#!/bin/sh
# audit.sh: known weaknesses of what the packages hold, by pip-audit from the pinned lists. Needs the index's
# advisory service (or OSV's: PIP_AUDIT_VULNERABILITY_SERVICE=osv); exits 1 when one is found or none can be asked.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
status=0
for lock in "$here"/locks/*.txt; do
    echo "$(basename "$lock" .txt):"
    sh "$here/uv.sh" tool run --quiet pip-audit==2.9.0 --progress-spinner off --disable-pip --require-hashes -r "$lock" ||
        status=1
done
exit $status
