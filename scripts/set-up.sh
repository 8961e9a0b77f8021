#!/usr/bin/env bash
# Make .venv: the Python environment of this checkout, as locked in requirements.lock. `make` calls this.
#
# Safe to run again, to interrupt and to run twice at once: what is there is kept, what is half done is redone.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

VENV=.venv
READY=$VENV/.ready

say() { printf '%s\n' "$*"; }
fail() {
  printf 'Set-up stopped: %s\n' "$*" >&2
  exit 1
}

is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

find_python() {
  local name
  for name in python3 python3.13 python3.12 python3.11 python3.14; do
    if is_new_enough "$name"; then
      command -v "$name"
      return
    fi
  done
  return 1
}

apt_install() {
  command -v apt-get >/dev/null && [ "$(id -u)" -eq 0 ] || return 1
  say "  installing $* (apt-get) ..."
  apt-get update -qq || true # one broken source of many need not matter
  local told
  told=$(DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends "$@" 2>&1) && return
  say "$told"
  return 1
}

ensure_python() {
  find_python >/dev/null && return
  apt_install python3.11 python3.11-venv && find_python >/dev/null && return
  fail "Python 3.11 or newer is needed (on Debian and Ubuntu: apt-get install python3.11 python3.11-venv)."
}

ensure_venv_module() {
  local package
  "$1" -c 'import ensurepip, venv' 2>/dev/null && return
  package=$("$1" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')
  apt_install "$package" && "$1" -c 'import ensurepip, venv' 2>/dev/null && return
  fail "$1 cannot make virtual environments. Install its venv module (on Debian and Ubuntu: sudo apt-get install $package), then run make again."
}

is_usable() {
  [ -x $VENV/bin/python ] && is_new_enough $VENV/bin/python && $VENV/bin/python -c 'import pip' 2>/dev/null &&
    grep -qsF "$(pwd -P)/$VENV" $VENV/bin/activate # a copied or moved checkout: the scripts name the old place
}

# Held on a file that is always there; the kernel lets go of it however this script ends.
if command -v flock >/dev/null; then
  exec 9<requirements.lock
  flock --nonblock 9 || { say "Another set-up of this checkout is under way; waiting for it ..."; flock 9; }
fi
if [ $READY -nt requirements.lock ] && [ $READY -nt pyproject.toml ] && is_usable; then
  touch $READY
  exit 0
fi

quiet=--quiet
if [ -t 1 ]; then quiet=; fi
started=$SECONDS
rm -f $READY

say "[1/3] Python environment in $VENV"
if ! is_usable; then
  ensure_python
  python=$(find_python)
  ensure_venv_module "$python"
  "$python" -m venv --clear $VENV
fi

say "[2/3] Packages, as locked (about 350 MB the first time)"
$VENV/bin/python -m pip install --disable-pip-version-check $quiet --require-hashes -r requirements.lock ||
  fail "the packages could not be installed; the lines above say why. Running make again goes on from here."

say "[3/3] canaryd itself"
$VENV/bin/python -m pip install --disable-pip-version-check $quiet --no-deps --no-build-isolation -e . ||
  fail "canaryd could not be installed; the lines above say why."

touch $READY
say "Ready after $((SECONDS - started)) s."
