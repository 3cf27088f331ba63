#!/usr/bin/env bash
# Writes anew every page and file that is generated from the code; the unit tests say when it has to be run.
set -euo pipefail
cd "$(dirname "$0")/.."

# written FILE COMMAND...: the file stays as it was when the command fails.
written() {
    local file=$1
    shift
    .venv/bin/python -m "$@" >"$file.new" || {
        rm -f "$file.new"
        echo "$file could not be made" >&2
        exit 1
    }
    mv "$file.new" "$file"
}

written .env.example engagement_stream.cli config example
for page in metrics settings cli api; do
    written "docs/reference/$page.md" engagement_stream.cli reference "$page"
done
written docs/reference/crash-points.md tests.crash_points.page
written docs/reference/mutants.md tests.mutants.page
