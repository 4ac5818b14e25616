#!/usr/bin/env bash
# Unpack redis 8.0 of the next Debian release into a cache folder, for tests that compare with it.
#
# Nothing is installed: packages are downloaded and unpacked, libraries included, and the tests start
# the server with the loader that came with them (tests/support/servers.py). The archive is whatever
# this machine's apt is configured with, its release name replaced. Prints the folder; where it cannot
# be had, says why on stderr and ends with 1. A second run finds the folder and does nothing.
#
# REDIS8_SUITE=...   another release of the distribution
# ISTHMUS_REDIS8=... another folder
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/apt_archives.sh"

suite=${REDIS8_SUITE:-trixie}
target=${ISTHMUS_REDIS8:-${XDG_CACHE_HOME:-$HOME/.cache}/isthmus/redis8}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

if [[ -x $target/usr/bin/redis-check-rdb ]]; then
    echo "$target"
    exit
fi
for tool in apt-get apt-cache dpkg-deb; do
    command -v $tool >/dev/null || { echo "redis 8: there is no $tool" >&2; exit 1; }
done

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists,cache/archives,root}/partial "$work/packages"
options=(
    -qq -o Dir::Etc::sourcelist="$work/source.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::State::lists="$work/lists" -o Dir::State::status=/dev/null -o Dir::Cache="$work/cache"
    -o Acquire::Retries=1 -o Acquire::http::Timeout=15 -o APT::Sandbox::User=root
)

found=
while read -r archive; do
    echo "deb [signed-by=$keyring] $archive $suite main" >"$work/source.list"
    if timeout 60 apt-get "${options[@]}" update >/dev/null 2>&1 &&
        apt-cache "${options[@]}" show redis-server >/dev/null 2>&1; then
        found=$archive
        break
    fi
done < <(archives)
[[ $found ]] || { echo "redis 8: no configured archive has $suite, or none answers" >&2; exit 1; }

# The server and its shared libraries; what belongs to a running system is left away.
mapfile -t packages < <(
    apt-cache "${options[@]}" depends --recurse --no-recommends --no-suggests --no-conflicts \
        --no-breaks --no-replaces --no-enhances redis-server |
        grep -E '^(redis-|lib|zlib1g)' | grep -vE 'pam|semanage|debconf|debian|newt|slang|common' |
        sort -u
)
(cd "$work/packages" && timeout 300 apt-get "${options[@]}" download "${packages[@]}")
for package in "$work"/packages/*.deb; do
    dpkg-deb -x "$package" "$work/root"
done
rm -rf "$work"/root/{partial,usr/share} "$target"
mkdir -p "$(dirname "$target")"
mv "$work/root" "$target"
echo "$target"
