#!/usr/bin/env bash
# Installs flue-ci into a new folder below RUNNER_TEMP, and names that folder as the step's output `home`.
# It writes nothing outside of it but the reason of a failure, reads nothing of the workspace, and runs no code of a package while it installs one.
# Bash 3.2 is enough: that is what macOS has.
set -euo pipefail

fail() { # WHAT, WHAT NEXT
  trap - EXIT
  echo "::error title=flue-ci::$1. $2"
  echo "$1. $2" >"${RUNNER_TEMP:-/tmp}/flue-ci-install-failure" || true # for the step that answers the comment
  exit 1
}
# Whatever else goes wrong, such as a full disk, is an error with a reason as well.
trap 'fail "flue-ci could not be installed (exit code $?, see the lines above)" "Is the disk of this runner full?"' EXIT

[ "${RUNNER_OS:-}" != Windows ] || fail "Windows runners are not supported" "Let this job run on Linux or macOS"
action=$(cd "$(dirname "$0")/.." && pwd)
home=$(mktemp -d "${RUNNER_TEMP:-/tmp}/flue-ci-XXXXXX")
cd "$home"

# A mirror, certificates and a proxy are the runner's business. Every other setting could change what gets installed.
for name in $(compgen -e); do
  case $name in
    UV_DEFAULT_INDEX | UV_INDEX_URL | UV_HTTP_* | UV_INSECURE_HOST | UV_NATIVE_TLS | UV_SYSTEM_CERTS) ;;
    UV_PYTHON_INSTALL_MIRROR | PIP_INDEX_URL | PIP_CERT | PIP_CLIENT_CERT | PIP_PROXY | PIP_TRUSTED_HOST) ;;
    PIP_* | UV_* | PYTHON* | VIRTUAL_ENV | CONDA_PREFIX) unset "$name" ;;
  esac
done
mirror=${UV_DEFAULT_INDEX:-${UV_INDEX_URL:-${PIP_INDEX_URL:-}}}
[ -z "$mirror" ] || export UV_DEFAULT_INDEX="$mirror" PIP_INDEX_URL="$mirror"
# uv and the pips of different years each know other names of the file with a company's authorities.
authorities=${SSL_CERT_FILE:-${REQUESTS_CA_BUNDLE:-${CURL_CA_BUNDLE:-}}}
[ ! -f "$authorities" ] || export SSL_CERT_FILE="$authorities" PIP_CERT="${PIP_CERT:-$authorities}"
export PIP_CONFIG_FILE=/dev/null PIP_ROOT_USER_ACTION=ignore
export UV_NO_CONFIG=1 UV_CACHE_DIR="$home/cache" UV_PYTHON_INSTALL_DIR="$home/python"

# A Python that is there already, else the one that uv finds or fetches.
python=''
suits='import sys; v = sys.version_info; print(sys.executable if (3, 11) <= v < (3, 15) else "")'
for candidate in python3 "${RUNNER_TOOL_CACHE:-/nowhere}"/Python/3.1[1-4].*/*/bin/python3; do
  [ -n "$python" ] || python=$("$candidate" -I -c "$suits" 2>/dev/null || true)
done

uv=$(type -P uv || true)
if [ -z "$uv" ]; then
  "${python:-python3}" -I -m pip install --quiet --disable-pip-version-check --no-input --no-compile --no-deps \
    --only-binary :all: --require-hashes --requirement "$action/.github/uv.txt" --target "$home/uv" ||
    fail "Neither uv nor a Python whose pip can install it works on this runner" "Install uv on it"
  uv=$home/uv/bin/uv
fi

"$uv" venv --quiet --no-config --no-project --python "${python:->=3.11,<3.15}" "$home/venv" ||
  fail "There is no Python 3.11 to 3.14 on this runner, and uv could not fetch one" "Use actions/setup-python before"
"$uv" pip install --quiet --no-config --python "$home/venv/bin/python" --no-deps --only-binary :all: --require-hashes \
  --requirement "$action/requirements.txt" ||
  fail "The packages that flue-ci needs could not be installed" "A mirror is named by UV_DEFAULT_INDEX (docs/action.md)"

# flue-ci itself is copied: to build a package takes more packages, and a link would write into the action's folder.
cp -R "$action/flue_ci" "$home"/venv/lib/python3.*/site-packages/
cat >"$home/venv/bin/flue-ci" <<'END'
#!/bin/sh
# -I: neither the working directory nor a variable of the job decides what is imported.
exec "${0%/*}/python" -I -c 'from flue_ci.__main__ import main; main()' "$@"
END
chmod +x "$home/venv/bin/flue-ci"

# Nothing is compiled yet. While the run reads its event, this makes the bytecode of the largest packages: seconds less.
"$home/venv/bin/python" -I -c 'from flue_ci.models.claude.lazy_import import preload; preload(); import e2b' \
  </dev/null >/dev/null 2>&1 &

echo "home=$home" >>"$GITHUB_OUTPUT"
trap - EXIT
