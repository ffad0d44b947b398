#!/bin/sh
# Renew requirements.lock from pyproject.toml, for every supported Python and platform at once.
set -eu

cd "$(dirname "$0")/.."
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
python3 -m venv "$scratch/venv"
"$scratch/venv/bin/pip" install --quiet uv
# 1.3.1 declares that it ends at Python 3.10, which the resolver overlooks.
echo "backports-strenum==1.2.8" >"$scratch/constraints.txt"
"$scratch/venv/bin/uv" pip compile pyproject.toml --extra dev --universal --python-version 3.11 \
    --fork-strategy fewest --constraint "$scratch/constraints.txt" --quiet \
    --no-emit-index-url --no-emit-find-links --no-annotate --no-header -o requirements.lock
