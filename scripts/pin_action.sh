#!/usr/bin/env bash
# Pins flue-ci's own action in the README, the examples and the starter to the commit of a release:
# scripts/pin_action.sh COMMIT VERSION, for example scripts/pin_action.sh "$(git rev-parse v1.2.3^{commit})" v1.2.3
set -euo pipefail
cd "$(dirname "$0")/.."

if ! [[ ${1:-} =~ ^[0-9a-f]{40}$ && ${2:-} =~ ^v[0-9]+\.[0-9]+\.[0-9]+$ ]]; then
  echo "usage: scripts/pin_action.sh COMMIT VERSION: 40 hexadecimal digits, and v1.2.3" >&2
  exit 2
fi
for file in README.md docs/*.md examples/workflows/*.yml flue_ci/spec/starter_files/*.yml; do
  sed -E "s|flue-ci/flue-ci@[0-9a-f]{40} # v[0-9.]+|flue-ci/flue-ci@$1 # $2|" "$file" >"$file.part"
  if cmp -s "$file" "$file.part"; then
    rm "$file.part"
  else
    mv "$file.part" "$file"
  fi
done
