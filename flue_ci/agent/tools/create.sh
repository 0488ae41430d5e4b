#!/bin/bash
# Writes a file that is not there yet, or one of plain lines when the content is `whole_lines`, too: nothing of its format
# can get lost. Prints `created`. Assigned in front: path (absolute), content (base64), whole_lines (not empty: it ends
# with a line end), large (not empty: the content is not here). Exit code 3: there is another file; then its last byte and
# its beginning are printed, each in base64. Any other: something else is in the way, or the content is large.
# shellcheck disable=SC2154,SC2034 # the variables come before the script, and what reads `target` too
export LC_ALL=C
is_plain() {
  [ -s "$path" ] && [ -w "$path" ] && [ "$(head -c 65536 -- "$path" | tr -d '\n\t -~' | wc -c)" -eq 0 ] &&
    [ "$(tail -c 1 -- "$path" | tr -d '\n' | wc -c)" -eq 0 ]
}
if [ -f "$path" ] && [ -z "$large" ] && [ -n "$whole_lines" ] && is_plain; then
  target=$path
  [ ! -L "$path" ] || target=$(realpath -- "$path") || exit 5
  begin
  printf %s "$content" | base64 -d >"$new" 2>/dev/null || exit 5
  finish 2>/dev/null || exit 5
  echo created
  exit 0
fi
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
