# Sourced by the scripts that need Python programs of PyPI. A fresh machine may lack Python, too.

. "$(dirname "${BASH_SOURCE[0]}")/install.sh"

apt_install() {
    echo "installing $*"
    quietly 'read the list of packages' apt-get update
    quietly "install $*" env DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$@"
}

# make_venv NAME PACKAGE…: sets `venv` to a folder of its own for these packages, and installs them if they are not there.
make_venv() {
    local packages=("${@:2}")
    venv=$cache/$1-$(printf '%s ' "${packages[@]}" | cksum | cut -d' ' -f1)
    # A mark in the end, so that an install cut short is not taken for a whole one: a venv cannot be moved. Where the
    # system's Python went away, what is installed is of no use.
    if [ -e "$venv/complete" ] && "$venv/bin/python" -c ''; then
        return
    fi
    # Debian's python3 has `venv` and `ensurepip` in a package of their own.
    python3 -c 'import venv, ensurepip' 2>/dev/null || apt_install python3 python3-venv
    echo "installing ${packages[*]}"
    rm -rf "$venv"
    mkdir -p "$cache"
    quietly 'make a venv' python3 -m venv "$venv"
    quietly "install ${packages[*]}" "$venv/bin/pip" install --disable-pip-version-check "${packages[@]}"
    touch "$venv/complete"
}
