#!/bin/sh
# Install the distribution's packages that the packages' tests need. Quick when all of them are installed.
set -eu
needed="systemd-container debootstrap debian-archive-keyring dpkg-dev apt-utils rpm createrepo-c lintian rpmlint
    binutils zstd make git curl procps util-linux openssl gnupg python3 python3-pip python3.11 python3.11-venv
    gcc libc6-dev patch perl xz-utils zsh fish chromium fonts-wqy-microhei
    qemu-user-static libgcc-12-dev-arm64-cross gpg-agent iproute2 shellcheck skopeo haproxy"
missing=
for package in $needed; do
    state=$(dpkg-query --show --showformat '${db:Status-Status}' "$package" 2>/dev/null || :)
    [ "$state" = installed ] || missing="$missing $package"
done
[ -n "$missing" ] || exit 0
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
# shellcheck disable=SC2086  # word splitting is intended
apt-get install -q -y --no-install-recommends $missing
