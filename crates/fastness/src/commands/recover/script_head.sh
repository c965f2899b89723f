set -euf
LC_ALL=C.UTF-8
DEBIAN_FRONTEND=noninteractive
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
export LC_ALL DEBIAN_FRONTEND PATH

simulate=no
case "${1-}" in
'') ;;
--simulate) simulate=yes ;;
*)
    echo "usage: $0 [--simulate]" >&2
    exit 2
    ;;
esac

problems=0
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

say() { printf '== %s\n' "$*"; }
problem() {
    printf '!! %s\n' "$*" >&2
    problems=$((problems + 1))
}
die() {
    printf '!! %s\n' "$*" >&2
    exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }

# Runs a command, or only shows it.
act() {
    if [ "$simulate" = yes ]; then
        printf '   would run: %s\n' "$*"
    else
        "$@" </dev/null || problem "failed: $*"
    fi
}

# put_file WHEN MODE PATH: writes base64 from stdin to a file. WHEN is "always", or "missing" to
# leave a file alone that is there.
put_file() {
    base64 -d >"$work/file"
    if [ -e "$3" ] && { [ "$1" = missing ] || cmp -s "$work/file" "$3"; }; then
        return 0
    fi
    act install -D -m "$2" "$work/file" "$3"
}

need_group() {
    if there=$(getent group "$1"); then
        there=${there#*:*:}
        [ "${there%%:*}" = "$2" ] || problem "group $1 has the id ${there%%:*}, in the archive $2"
    elif taken=$(getent group "$2"); then
        problem "group $1: its id $2 is that of ${taken%%:*}"
    else
        act groupadd --gid "$2" "$1"
    fi
}

# need_user NAME UID GID COMMENT HOME SHELL: without a password; that comes with /etc/shadow.
need_user() {
    if there=$(getent passwd "$1"); then
        there=${there#*:*:}
        [ "${there%%:*}" = "$2" ] || problem "user $1 has the id ${there%%:*}, in the archive $2"
    elif taken=$(getent passwd "$2"); then
        problem "user $1: its id $2 is that of ${taken%%:*}"
    else
        act useradd --uid "$2" --gid "$3" --comment "$4" --home-dir "$5" --shell "$6" --no-create-home "$1"
    fi
}

need_member() {
    case ",$(getent group "$1" | cut -d: -f4)," in
    *",$2,"*) ;;
    *) act usermod --append --groups "$1" "$2" ;;
    esac
}

# install_packages FILE: each line a name and the version it had, or "-". A version is asked for
# where apt still has it.
install_packages() {
    cut -d' ' -f1 "$1" | xargs -r apt-cache policy >"$work/policy" 2>/dev/null || :
    awk '
        FILENAME == ARGV[1] {
            if (/^[^ ]/) { name = $0; sub(/:$/, "", name) }
            else if ($1 == "Installed:") { if ($2 != "(none)") installed[name] = 1 }
            else if ($1 == "Candidate:") { if ($2 != "(none)") there[name] = 1 }
            else if (/^ \*\*\* /) { version[name, $2] = 1 }
            else if (/^     [^ ]/) { version[name, $1] = 1 }
            next
        }
        !($1 in there) && !($1 in installed) { print "missing", $1, $1; next }
        !($1 in installed) && ($1, $2) in version { print "wanted", $1, $1 "=" $2; next }
        { print "wanted", $1, $1 }
    ' "$work/policy" "$1" >"$work/choice"
    for name in $(awk '$1 == "missing" { print $2 }' "$work/choice"); do
        problem "apt has no package $name"
    done
    set -- $(awk '$1 == "wanted" { print $3 }' "$work/choice")
    [ $# -gt 0 ] || return 0
    if ! apt-get --simulate --yes install "$@" >"$work/said" 2>&1; then
        say "these versions do not fit together any more: taking those that apt has now"
        set -- $(awk '$1 == "wanted" { print $2 }' "$work/choice")
        apt-get --simulate --yes install "$@" >"$work/said" 2>&1 || {
            cat "$work/said" >&2
            die "apt cannot install these packages together"
        }
    fi
    if [ "$simulate" = yes ]; then
        printf '   %s\n' "packages: $*"
        cat "$work/said"
    else
        apt-get --yes -o Dpkg::Options::=--force-confold install "$@" </dev/null ||
            die "apt could not install the packages"
    fi
}

enable_unit() {
    if systemctl --root=/ is-enabled --quiet "$1" 2>/dev/null; then
        return 0
    elif [ -n "$(systemctl --root=/ --no-legend list-unit-files "$1" 2>/dev/null)" ]; then
        act systemctl enable "$1"
    else
        say "unit $1 is not there, or not yet: it may come with the files"
    fi
}

# need_python PYTHON NAME VERSION
need_python() {
    "$1" -m pip show --quiet "$2" >/dev/null 2>&1 || {
        options=
        "$1" -m pip install --help 2>/dev/null | grep -q break-system-packages && options=--break-system-packages
        act "$1" -m pip install $options "$2==$3"
    }
}

need_crontab() {
    base64 -d >"$work/crontab"
    if ! has crontab; then
        problem "crontab is not installed: that of $1 is left out"
    elif crontab -u "$1" -l 2>/dev/null | grep -q .; then
        say "user $1 has a crontab: it stays"
    elif [ "$simulate" = yes ]; then
        printf '   would run: crontab -u %s\n' "$1"
    else
        crontab -u "$1" "$work/crontab" || problem "the crontab of $1 was refused"
    fi
}

if [ "$simulate" = no ] && [ "$(id -u)" != 0 ]; then
    die "only root can reinstall a machine; --simulate shows what would be done"
fi
