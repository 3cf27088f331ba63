#!/usr/bin/env bash
# The whole test suite against real servers; sets itself up. Arguments go to pytest.
set -euo pipefail
cd "$(dirname "$0")"
. scripts/environment.sh
prepare_environment requirements-dev.txt
exec .venv/bin/python -m pytest tests/ "$@"
