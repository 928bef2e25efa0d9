# shellcheck shell=bash
# Sourced by the checks of the clients: where kvd is, and where their tools are kept, with a way to install them.

die() {
  echo "error: $*" >&2
  exit 2
}

target=${CARGO_TARGET_DIR:-$(dirname "${BASH_SOURCE[0]}")/../target}
mkdir -p "$target"
target=$(cd "$target" && pwd)

KVD_BIN=${KVD_BIN:-$target/debug/kvd}
[ "${KVD_BIN:0:1}" = / ] || KVD_BIN=$PWD/$KVD_BIN
export KVD_BIN
[ -x "$KVD_BIN" ] || die "there is no kvd at $KVD_BIN: run cargo build, or set KVD_BIN"

# `python_tools DIRECTORY REQUIREMENTS MINOR`: a virtual environment with these packages, made anew when they change.
# Python must be 3.MINOR or newer.
python_tools() {
  local tools=$1 requirements=$2 minor=$3
  if ! cmp -s "$requirements" "$tools/requirements.txt" || ! "$tools/bin/python" -c '' 2>/dev/null; then
    command -v python3 >/dev/null || die "python3 is missing (apt-get install python3 python3-venv)"
    python3 -c "import sys; sys.exit(sys.version_info < (3, $minor))" || die "$(python3 --version) is too old: 3.$minor or newer is needed"
    python3 -c 'import ensurepip, venv' 2>/dev/null || die "python3 -m venv does not work (apt-get install python3-venv)"
    echo "installing Python tools ..." >&2
    python3 -m venv --clear "$tools"
    "$tools/bin/python" -m pip install --quiet --disable-pip-version-check --requirement "$requirements" ||
      die "the Python tools could not be installed"
    cp "$requirements" "$tools/requirements.txt"
  fi
  PATH=$tools/bin:$PATH
  export PYTHONDONTWRITEBYTECODE=1 RUFF_CACHE_DIR=$tools/ruff MYPY_CACHE_DIR=$tools/mypy
}
