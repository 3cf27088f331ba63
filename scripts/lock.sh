#!/usr/bin/env bash
# Makes the lock files anew from pyproject.toml; run it after a change of the dependencies. `--upgrade` is passed on.
set -euo pipefail
cd "$(dirname "$0")/.."
compile=(.venv/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes
    --no-emit-index-url --no-annotate --no-header)
"${compile[@]}" --extra embedded "$@" pyproject.toml -o requirements.txt
"${compile[@]}" --extra embedded --group dev "$@" pyproject.toml -o requirements-dev.txt
# What the images hold: parts of requirements.txt, in the same versions.
"${compile[@]}" --constraint requirements.txt pyproject.toml -o docker/requirements-processor.txt
printf '%s\n' bqemulator duckdb-extension-spatial duckdb-extensions numpy |
    "${compile[@]}" --constraint requirements.txt - -o docker/requirements-bigquery-emulator.txt
