#!/bin/sh
set -e
# This file is put in front of every maintainer script. dpkg and rpm use different arguments for the same step; $what
# is the common word:
#   after installing   deb "configure [OLD]", "triggered NAMES", "abort-*"    rpm 1 (first) or 2 (upgrade)
#   before removing    deb "remove", "upgrade NEW", "deconfigure ..."         rpm 0 (last) or 1 (upgrade)
#   after removing     deb "remove", "purge", "upgrade NEW", ...              rpm 0 (last) or 1 (upgrade)
case "${1:-}" in
    0) what=remove format=rpm ;;
    [1-9]*) what=configure format=rpm ;;
    *) what=${1:-} format=deb ;;
esac

# False in a chroot or while an image is built: then no systemd is running.
booted() { [ -d /run/systemd/system ]; }

# TDgpt or its database may be down or absent: this prints a warning and never makes the installation fail.
tell_tdgpt() { timeout 15 tsfm "$@" </dev/null || :; }
