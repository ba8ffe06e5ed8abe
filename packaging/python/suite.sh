# Defines apt, which asks the Debian suite that the sources come from and no other. Sourced; $work/apt holds its lists.
# bookworm: the one release that still patches 3.11. OpenSSL 3.5 of the next one fails some of CPython 3.11's ssl tests.
suite=bookworm
keys=${DEBIAN_KEYS:-/usr/share/keyrings/debian-archive-keyring.gpg}
mirror=${DEBIAN_MIRROR:-$(cat /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | grep -o 'https*://[^ ]*/debian/*$' | head -n 1)}
mkdir -p "$work/apt/lists/partial" "$work/apt/archives/partial"
printf "deb-src [signed-by=$keys] %s %s main\n" "$mirror" "$suite" "$mirror-security" "$suite-security" >"$work/apt/sources.list"
apt() {
    program=$1 && shift
    "$program" -qq -o Dir::Etc::SourceList="$work/apt/sources.list" -o Dir::Etc::SourceParts=/dev/null \
        -o Dir::State::Lists="$work/apt/lists" -o Dir::Cache="$work/apt" -o APT::Sandbox::User=root "$@"
}
