#!/bin/sh
# repo.sh FOLDER: turn FOLDER, which contains packages, into a repository for apt and for dnf.
# SIGN_KEY: a key of gpg's; the packages for rpm and both indexes are signed with it. Without it nothing is signed, and
# apt and dnf have to be told to trust the folder.
# SIGN_DATE: the date of indexes and signatures, in seconds since 1970; without it the present time.
set -eu
cd "$1"
key=${SIGN_KEY:-}
if [ -n "$key" ] && [ -n "${SIGN_DATE:-}" ]; then
    # No signature can be older than its key.
    born=$(gpg --batch --with-colons --list-keys "$key" | awk -F : '$1 == "pub" { print $6; exit }')
    if [ "$SIGN_DATE" -lt "$born" ]; then SIGN_DATE=$born; fi
fi
then=${SIGN_DATE:+--faked-system-time=$SIGN_DATE!}

# A signature in a file of its own, or (--clearsign) around the text. SHA-256 at least: apt refuses anything weaker.
# shellcheck disable=SC2086  # word splitting is intended
sign() { gpg --batch --yes --quiet --digest-algo SHA256 --local-user "$key" $then --armor --output "$2" "$3" "$1"; }

rm -f InRelease Release.gpg taos-tsfm.asc taos-tsfm-repo.deb taos-tsfm-repo.rpm
if ls ./*.deb >/dev/null 2>&1; then
    dpkg-scanpackages --multiversion . >Packages
    gzip --keep --force --no-name Packages
    names="-o APT::FTPArchive::Release::Origin=taos-tsfm -o APT::FTPArchive::Release::Label=taos-tsfm"
    # shellcheck disable=SC2086
    apt-ftparchive $names release . >Release.new
    if [ -n "$then" ]; then sed -i "s/^Date: .*/Date: $(date --utc --rfc-email --date "@$SIGN_DATE")/" Release.new; fi
    mv Release.new Release
    if [ -n "$key" ]; then
        sign Release InRelease --clearsign
        sign Release Release.gpg --detach-sign
    fi
fi
if ls ./*.rpm >/dev/null 2>&1; then
    if [ -n "$key" ]; then
        rpmsign --define "__gpg $(command -v gpg)" --define "_gpg_name $key" --define "_gpg_digest_algo sha256" \
            --define "_gpg_sign_cmd_extra_args --batch $then" --resign ./*.rpm >/dev/null
    fi
    if [ -n "$then" ]; then touch --date "@$SIGN_DATE" ./*.rpm; fi  # the index holds the files' dates
    createrepo_c --quiet --no-database ${SIGN_DATE:+--revision "$SIGN_DATE" --set-timestamp-to-revision} .
    if [ -n "$key" ]; then sign repodata/repomd.xml repodata/repomd.xml.asc --detach-sign; fi
fi
if [ -n "$key" ]; then
    # What a host fetches first has a name without a version, and is not listed twice in the indexes.
    gpg --batch --armor --export "$key" >taos-tsfm.asc
    for file in taos-tsfm-repo_*.deb; do cp "$file" taos-tsfm-repo.deb; done
    for file in taos-tsfm-repo-*.rpm; do cp "$file" taos-tsfm-repo.rpm; done
fi
