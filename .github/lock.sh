#!/usr/bin/env bash
# Makes requirements.txt, what the action installs, .github/uv.txt, what it installs that with where uv is missing, and
# .github/requirements-dev.txt, what CI and a release install. Needs uv. Run it after a change of `dependencies`, and to take up new versions: .github/lock.sh --upgrade
set -euo pipefail
cd "$(dirname "$0")/.."

# Linux and macOS, every Python that the action accepts. Where packages come from is a matter of the runner.
lock=(uv pip compile --quiet --no-config --universal --python-version 3.11 --generate-hashes --no-annotate --no-header
  --no-emit-index-url --no-emit-find-links)

"${lock[@]}" "$@" pyproject.toml .github/lock.in --output-file requirements.txt
"${lock[@]}" "$@" --extra dev --constraint requirements.txt pyproject.toml .github/lock.in .github/dev.in \
  --output-file .github/requirements-dev.txt
echo uv | "${lock[@]}" "$@" --constraint .github/requirements-dev.txt - --output-file .github/uv.txt
