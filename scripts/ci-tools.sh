#!/usr/bin/env bash
# Installs the programs that only tests need and that no package index of Python's has; run as root, on Debian or Ubuntu.
# Nobody else needs this: a test whose program is missing is skipped with its reason, unless REQUIRE_TOOLS=1.
set -euo pipefail

# program:Debian package that brings it
tools=(
    promtool:prometheus                # alert rules, and every query of the Grafana dashboards
    amtool:prometheus-alertmanager     # the way of an alert to a person
    chromium:chromium                  # the dashboard
)

missing=()
for tool in "${tools[@]}"; do
    command -v "${tool%%:*}" >/dev/null || missing+=("${tool##*:}")
done
[ "${#missing[@]}" -eq 0 ] && exit 0

# The packages would start their services: Debian asks this file, and 101 means no.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    trap 'rm -f "$policy"' EXIT
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod 755 "$policy"
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -qq --no-install-recommends "${missing[@]}" >/dev/null
