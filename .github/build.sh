#!/usr/bin/env bash
# Builds a release from a clean checkout of its tag: the wheel and the sdist below dist/, and sbom.cdx.json beside it.
# .github/build.sh TAG COMMIT: TAG is v and the version of pyproject.toml; COMMIT is what `flue-ci init` of that wheel
# pins the action to. What it installs is pinned by hash; the same checkout gives the same bytes.
set -euo pipefail
cd "$(dirname "$0")/.."

version=$(sed -nE 's/^version = "(.*)"$/\1/p' pyproject.toml)
if [ "${1:-}" != "v$version" ]; then
  echo "::error::the tag is ${1:-missing}, but pyproject.toml has version $version: correct one of them, and tag again"
  exit 1
fi
scripts/pin_action.sh "${2:?the commit of the tag}" "$1"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
"${PYTHON:-python3}" -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet --disable-pip-version-check --require-hashes --only-binary :all: \
  --requirement .github/requirements-dev.txt
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct 2>/dev/null || echo 1577836800)
export SOURCE_DATE_EPOCH
"$work/venv/bin/hatchling" build --directory dist
"$work/venv/bin/cyclonedx-py" requirements --pyproject pyproject.toml --output-reproducible \
  --output-file sbom.cdx.json requirements.txt
