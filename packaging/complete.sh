#!/bin/sh
# complete.sh FOLDER: fail if a package in FOLDER lacks something that hosts need: built with WITHOUT_TORCH=1, it says
# so in its description. Run before a repository is signed.
set -eu
for package in "$1"/taos-tsfm-runtime*; do
    case $package in
        *.deb) told=$(dpkg-deb --field "$package" Description) ;;
        *.rpm) told=$(rpm --query --package --queryformat '%{SUMMARY}' "$package") ;;
        *) continue ;;
    esac
    case $told in
        *INCOMPLETE*)
            echo "$package is for tests only: $told" | head -n 1 >&2
            echo "it is not signed: build it with torch, or remove it" >&2
            exit 1
            ;;
    esac
done
