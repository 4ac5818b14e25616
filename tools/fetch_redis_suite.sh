#!/usr/bin/env bash
# Unpack the test suite of redis 8.0 (tests written in Tcl) from the distribution's source package.
#
# Only the source archive is fetched, from whatever this machine's apt is configured with, its release
# name replaced; nothing is installed or built. Prints the folder; where it cannot be had, says why on
# stderr and ends with 1. A second run finds the folder and does nothing.
#
# REDIS8_SUITE=...         another release of the distribution
# ISTHMUS_REDIS_SUITE=...  another folder
set -euo pipefail
source "$(dirname "${BASH_SOURCE[0]}")/apt_archives.sh"

suite=${REDIS8_SUITE:-trixie}
target=${ISTHMUS_REDIS_SUITE:-${XDG_CACHE_HOME:-$HOME/.cache}/isthmus/redis-suite}
keyring=/usr/share/keyrings/debian-archive-keyring.gpg

if [[ -x $target/runtest ]]; then
    echo "$target"
    exit
fi
command -v apt-get >/dev/null || { echo "redis suite: there is no apt-get" >&2; exit 1; }

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkdir -p "$work"/{lists,cache/archives}/partial "$work"/{source,root}
options=(
    -qq -o Dir::Etc::sourcelist="$work/source.list" -o Dir::Etc::sourceparts=/dev/null
    -o Dir::State::lists="$work/lists" -o Dir::Cache="$work/cache"
    -o Acquire::Retries=1 -o Acquire::http::Timeout=15 -o APT::Sandbox::User=root
)

archive_file=
while read -r archive; do
    echo "deb-src [signed-by=$keyring] $archive $suite main" >"$work/source.list"
    timeout 60 apt-get "${options[@]}" update >/dev/null 2>&1 || continue
    # The packaging may be newer in the index than on the server; the tests are not in it.
    (cd "$work/source" && timeout 300 apt-get "${options[@]}" source --download-only redis) \
        >/dev/null 2>&1 || true
    archive_file=$(find "$work/source" -name 'redis_*.orig.tar.gz' | head -1)
    [[ $archive_file ]] && break
done < <(archives)
[[ $archive_file ]] || { echo "redis suite: no configured archive has $suite, or none answers" >&2; exit 1; }

tar -xzf "$archive_file" -C "$work/root" --strip-components=1 --wildcards '*/tests' '*/runtest' '*/utils'
rm -rf "$target"
mkdir -p "$(dirname "$target")" "$work/root/src"
mv "$work/root" "$target"
echo "$target"
