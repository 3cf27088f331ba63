#!/usr/bin/env bash
# The whole test suite against real servers; sets itself up. Arguments go to pytest (a path runs only that part). Each of the two workers has servers
# of its own; most tests wait more than they work.
set -euo pipefail
cd "$(dirname "$0")"
. scripts/environment.sh
prepare_environment requirements-dev.txt
exec .venv/bin/python -m pytest -n "${TEST_WORKERS:-2}" --dist loadfile "$@"
