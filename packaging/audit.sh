#!/bin/sh
# audit.sh: known weaknesses of what the packages hold, by pip-audit from the pinned lists. Needs the index's advisory
# service, or OSV's (PIP_AUDIT_VULNERABILITY_SERVICE=osv). Exits 1 when a weakness is found, and also when the service
# does not know a package: without --strict that would pass for clean.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
audit() { sh "$here/uv.sh" tool run --quiet pip-audit==2.9.0 --progress-spinner off --disable-pip --strict "$@"; }
status=0
for lock in "$here"/locks/*.txt; do
    echo "$(basename "$lock" .txt):"
    audit --require-hashes -r "$lock" || status=1
done
exit $status
