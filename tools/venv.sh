#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# venv.sh DIR - make or refresh the virtual environment of this clone.
#
# The interpreter is Debian's /usr/bin/python3, whatever `python3` is first in PATH, because the modules nbd and
# libvirt are Debian packages built for it. Running it again is cheap and repairs what is missing.
set -eu

here=$(cd "$(dirname "$0")/.." && pwd)
venv=${1:-$here/.venv}
python=${CORIOLIS_PYTHON:-/usr/bin/python3}
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV

mkdir -p "$venv"
exec 9>"$venv/.lock"
flock 9

usable() {
    [ -x "$venv/bin/python" ] && "$venv/bin/python" - "$python" <<'PYTHON'
import os, sys
base = os.path.realpath(sys._base_executable)
sys.exit(base != os.path.realpath(sys.argv[1]) or sys.prefix == sys.base_prefix)
PYTHON
}

if ! usable 2>/dev/null; then
    echo "Making a virtual environment of $python in $venv"
    "$python" -m venv --clear "$venv"
    exec 9>"$venv/.lock"
    flock 9
fi

"$venv/bin/python" "$here/tools/link_debian_modules.py"
"$venv/bin/python" -m pip install -q --disable-pip-version-check \
    -r "$here/requirements.txt" -r "$here/test-requirements.txt" </dev/null
PYTHONWARNINGS=ignore "$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps -e "$here" </dev/null
touch "$venv/.ready"
