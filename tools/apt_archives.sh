# Sourced by those who fetch from the distribution: `archives` prints what apt is configured with.

# Every archive once, from either of apt's two file formats.
archives() {
    cat /etc/apt/sources.list /etc/apt/sources.list.d/*.{sources,list} 2>/dev/null |
        sed -nE 's/^URIs: *([^ ]+).*/\1/p; s/^deb +(\[[^]]*\] +)?([^ ]+) .*/\2/p' | awk '!seen[$0]++'
}
