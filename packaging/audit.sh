#!/bin/sh
# audit.sh: run pip-audit on the pinned lists to find known vulnerabilities in the contents of the packages. Needs the
# advisory service of the package index, or of OSV (PIP_AUDIT_VULNERABILITY_SERVICE=osv). Exits 1 when it finds a
# vulnerability, and also when the service does not know a package: without --strict that would count as clean.
set -eu
here=$(cd "$(dirname "$0")" && pwd)
audit() { sh "$here/uv.sh" tool run --quiet pip-audit==2.9.0 --progress-spinner off --disable-pip --strict "$@"; }
status=0
for lock in "$here"/locks/*.txt; do
    echo "$(basename "$lock" .txt):"
    audit --require-hashes -r "$lock" || status=1
done
exit $status
