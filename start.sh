#!/usr/bin/env bash
# Everything with one command: makes an environment in .venv, then runs the whole system until Ctrl-C.
# Needs Python 3.11 or newer and nothing else: no Docker, no Java, no root. Arguments go to `engagement up`.
set -euo pipefail
cd "$(dirname "$0")"
. scripts/environment.sh
prepare_environment requirements.txt
exec .venv/bin/python -m engagement_stream.cli up "$@"
