#!/usr/bin/env bash
# Makes the lock files anew from pyproject.toml; run it after a change of the dependencies. `--upgrade` is passed on.
set -euo pipefail
cd "$(dirname "$0")/.."
compile=(.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes
    --no-emit-index-url --no-annotate --no-header --extra embedded "$@" pyproject.toml)
"${compile[@]}" -o requirements.txt
"${compile[@]}" --group dev -o requirements-dev.txt
