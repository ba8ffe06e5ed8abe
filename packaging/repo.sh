#!/bin/sh
# repo.sh FOLDER: turn FOLDER, which contains packages, into a repository for apt and for dnf.
# On a host:  deb [trusted=yes] file:FOLDER ./     or     dnf --repofrompath=tsfm,FOLDER --nogpgcheck
set -eu
cd "$1"
if ls ./*.deb >/dev/null 2>&1; then
    dpkg-scanpackages --multiversion . >Packages
    gzip --keep --force --no-name Packages
    if command -v apt-ftparchive >/dev/null; then apt-ftparchive release . >Release.new && mv Release.new Release; fi
fi
if ls ./*.rpm >/dev/null 2>&1 && command -v createrepo_c >/dev/null; then createrepo_c --quiet .; fi
