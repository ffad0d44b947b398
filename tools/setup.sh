#!/bin/sh
# Make the virtual environment $1 from requirements.lock, with the first Python that can train.
set -eu

venv=$1

supported() {
    "$1" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

python=
for candidate in python3 python python3.13 python3.12 python3.11; do
    if supported "$candidate"; then
        python=$candidate
        break
    fi
done
if [ -z "$python" ]; then
    found=$(python3 --version 2>&1 || true)
    echo "make: training needs Python 3.11, 3.12 or 3.13 (Keras 3.15 has no release for older ones)," \
        "received ${found:-no python3}; install one of them, or only the device part:" \
        'pip install ".[edge]"' >&2
    exit 2
fi

# Debian's Python comes without ensurepip unless python3-venv is installed; then its pip helps out.
"$python" -m venv "$venv" 2>/dev/null ||
    { "$python" -m venv --without-pip "$venv" && "$python" -m pip --python "$venv/bin/python" install -q pip; }
echo "Installing the locked packages into $venv ..."
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check -r requirements.lock
"$venv/bin/python" -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation -e .
touch "$venv/.installed"
