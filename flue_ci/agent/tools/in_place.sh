#!/bin/bash
# Two functions that stand in front of the scripts of `edit`: a new file beside "$target", and that file in its place.
# shellcheck disable=SC2154 # `target` is set by the script behind

begin() {
  directory=${target%/*}/
  new=$(mktemp -- "$directory.flue-XXXXXXXX" 2>/dev/null || mktemp) || exit 1
  trap 'rm -f -- "$new" ${copy:+"$copy"}' EXIT
}

finish() {
  chmod --reference="$target" -- "$new"
  # Who compares times in whole seconds (make, Python's bytecode) has to see each of two edits in one second.
  before=$(stat -c %Y -- "$target")
  [ "$(stat -c %Y -- "$new")" -gt "$before" ] || touch -d "@$((before + 1))" -- "$new"
  # A file of somebody else stays theirs, one in a directory that cannot be written stays where it is, and one with more
  # names keeps them.
  if [ -O "$target" ] && [ "${new%/*}/" = "$directory" ] && [ "$(stat -c %h -- "$target")" = 1 ]; then
    mv -fT -- "$new" "$target"
  else
    cat -- "$new" >"$target"
  fi
}
