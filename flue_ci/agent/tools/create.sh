#!/bin/bash
# Writes a file that is not there yet, and prints `created`. Assigned in front: path (absolute), content (base64), large
# (not empty: the content is not here). Exit code 3: there is one; then its last byte and its beginning are printed, each
# in base64. 5: something else is in the way, or the content is large.
# shellcheck disable=SC2154 # the variables come before the script
export LC_ALL=C
if [ -f "$path" ]; then
  tail -c 1 -- "$path" | base64
  head -c 65536 -- "$path" | base64 | tr -d '\n'
  exit 3
fi
[ -z "$large" ] && [ ! -e "$path" ] && [ ! -L "$path" ] || exit 5
mkdir -p -- "${path%/*}/" 2>/dev/null || exit 5
set -C
{ : >"$path"; } 2>/dev/null || exit 5
printf %s "$content" | base64 -d >|"$path" 2>/dev/null || {
  rm -f -- "$path"
  exit 5
}
echo created
