# Sourced by start.sh and test.sh: makes .venv from a lock file, once per content of that file.

fail() {
    echo "$1" >&2
    exit 1
}

# The first Python that is new enough; PYTHON overrides.
find_python() {
    local candidate
    for candidate in ${PYTHON:-} python3 python3.13 python3.12 python3.11 python; do
        if "$candidate" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 14))' 2>/dev/null; then
            echo "$candidate"
            return
        fi
    done
    fail "Python 3.11 or newer is needed and was not found: install it (for example: apt install python3 python3-venv), or name it: PYTHON=/path/to/python ./start.sh"
}

# prepare_environment LOCKFILE
prepare_environment() {
    local lock=$1 python stamp
    stamp=$(cat "$lock" pyproject.toml | cksum)
    if [ -x .venv/bin/python ] && [ "$(cat ".venv/$lock.installed" 2>/dev/null)" = "$stamp" ]; then
        return
    fi
    if [ ! -x .venv/bin/pip ]; then
        python=$(find_python)
        echo "Making a Python environment in .venv ..."
        rm -rf .venv
        "$python" -m venv .venv >/dev/null 2>&1 || {
            rm -rf .venv
            fail "This Python cannot make environments: install its venv module (for example: apt install python3-venv) and start again."
        }
    fi
    if [ ! -x .venv/bin/uv ]; then
        .venv/bin/pip install --quiet --disable-pip-version-check "uv==$(sed -n 's/^uv==//p' scripts/uv.txt)" ||
            fail "The first start needs the network to fetch Python packages: connect (or set your package index for pip and uv) and start again."
    fi
    echo "Installing packages ..."
    .venv/bin/uv pip install --python .venv/bin/python --require-hashes -r "$lock" ||
        fail "Packages could not be installed: see the lines above; is the network reachable, and is there 1.5 GB of free disk?"
    .venv/bin/uv pip install --quiet --python .venv/bin/python --no-deps -e .
    echo "$stamp" >".venv/$lock.installed"
}
