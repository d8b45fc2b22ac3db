#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# packages.sh [PROFILE ...] - install the Debian packages of bindep.txt that are missing.
#
# Packages without a profile are always wanted, the others when one of their profiles is named. When nothing is
# missing this takes some milliseconds, touches nothing and needs no rights. No service is started by an
# installation: the tests and the demo start their own instances.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)

wanted() {
    awk -v profiles="$*" '
        BEGIN { count = split(profiles, names, " "); for (i = 1; i <= count; i++) asked[names[i]] = 1 }
        { sub(/#.*/, "") }
        NF == 0 { next }
        NF == 1 { print $1; next }
        { line = $0; sub(/^[^[]*\[/, "", line); sub(/\].*/, "", line)
          count = split(line, tags, " ")
          for (i = 1; i <= count; i++) if (tags[i] in asked) { print $1; break } }
    ' "$here/bindep.txt"
}

missing() {
    for package in $(wanted "$@"); do
        status=$(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null || true)
        [ "$status" = installed ] || printf '%s ' "$package"
    done
}

todo=$(missing "$@")
[ -n "$todo" ] || exit 0

if ! command -v apt-get >/dev/null; then
    echo "These packages are missing, and this is not a Debian system: $todo" >&2
    exit 1
fi
if [ "$(id -u)" = 0 ]; then
    sudo=
elif command -v sudo >/dev/null; then
    sudo=sudo
    echo "Debian packages are missing; sudo may ask for your password to install: $todo"
else
    echo "Debian packages are missing. As root, run:  apt-get install --no-install-recommends $todo" >&2
    exit 1
fi

# One installation at a time; dpkg would wait for its own lock anyway, but the policy file below is ours.
lock=${TMPDIR:-/tmp}/coriolis-packages.$(id -u).lock
exec 9>"$lock"
flock 9

# While this file says 101, package scripts start no service (Debian Policy 9.3.3). One that is there already is
# somebody else's decision and is left alone.
policy=/usr/sbin/policy-rc.d
restore_policy() { :; }
if [ ! -e "$policy" ]; then
    restore_policy() { $sudo rm -f "$policy"; }
    trap restore_policy EXIT
    trap 'exit 130' INT TERM
    printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
    $sudo chmod 755 "$policy"
fi

install() {
    # shellcheck disable=SC2086  # a list of words
    $sudo env DEBIAN_FRONTEND=noninteractive NEEDRESTART_MODE=l apt-get install -q -y --no-install-recommends \
        -o DPkg::Lock::Timeout=300 $todo </dev/null
}

echo "Installing Debian packages: $todo"
# A container often has no package lists, and old ones may name versions that the mirror has replaced.
refresh() { $sudo apt-get update -q </dev/null; }
ls /var/lib/apt/lists/*_Packages* >/dev/null 2>&1 || refresh
install || { refresh && install; }
