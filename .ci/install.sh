# Sourced by the scripts that need more than a fresh machine has.

cache=${OBSYNC_CACHE:-${XDG_CACHE_HOME:-$HOME/.cache}/obsync}

die() {
    printf '%s: %s\n' "${0##*/}" "$1" >&2
    exit 1
}

# quietly WHAT COMMAND…: its output is shown only where it fails.
quietly() {
    local log what=$1
    log=$(mktemp)
    "${@:2}" >"$log" 2>&1 </dev/null || { cat "$log" >&2; rm -f "$log"; die "cannot $what"; }
    rm -f "$log"
}
