#!/bin/bash
# Writes a file with the rights of the ordinary user: the whole content or nothing, a link stays one, and so does the
# mode. Prints one line with the token and `written`, or `problem` with an error message.
# Assigned in front: flue_path (absolute), flue_token, flue_name (unpredictable), flue_source (a file with the content;
# empty: it is in the environment, as flue_data in base64), flue_uploads (what earlier attempts and this one sent).
# shellcheck disable=SC2154,SC2016 # the variables come before the script, the trap's are read at its end
export LC_ALL=C
export -n flue_data
trap '[ -z "$flue_uploads" ] || rm -f -- $flue_uploads' EXIT
flue_report() { printf '\n%s %s\n' "$flue_token" "$*"; }
flue_fail() {
  [ -z "$flue_new" ] || rm -f -- "$flue_new"
  flue_report problem "$*"
  exit 0
}
flue_content() {
  if [ -n "$flue_source" ]; then cat -- "$flue_source"; else printf %s "$flue_data" | base64 -d; fi
}
flue_new=
flue_target=$flue_path
if [ -L "$flue_path" ]; then
  flue_target=$(realpath -m -- "$flue_path" 2>&1) || flue_fail "$flue_target"
fi
[ ! -d "$flue_target" ] || flue_fail "Is a directory"
[ ! -e "$flue_target" ] || [ -f "$flue_target" ] || flue_fail "Not a regular file"
flue_directory=${flue_target%/*}/
if [ ! -d "$flue_directory" ]; then
  flue_error=$(mkdir -p -- "$flue_directory" 2>&1) || flue_fail "$flue_error"
fi
if [ -e "$flue_target" ]; then
  { : >>"$flue_target"; } 2>/dev/null || flue_fail "$({ : >>"$flue_target"; } 2>&1)"
fi
# A file of somebody else stays theirs, one in a directory that cannot be written stays where it is, and one with more
# names keeps them.
if [ ! -e "$flue_target" ] ||
  { [ -O "$flue_target" ] && [ -w "$flue_directory" ] && [ "$(stat -c %h -- "$flue_target")" = 1 ]; }; then
  flue_new=$flue_directory.$flue_name
  { : >"$flue_new"; } 2>/dev/null || { flue_error=$({ : >"$flue_new"; } 2>&1); flue_new=; flue_fail "$flue_error"; }
fi
flue_error=$(flue_content 2>&1 >"${flue_new:-$flue_target}") || flue_fail "$flue_error"
if [ -n "$flue_new" ]; then
  [ ! -e "$flue_target" ] || chmod --reference="$flue_target" -- "$flue_new"
  flue_error=$(mv -fT -- "$flue_new" "$flue_target" 2>&1) || flue_fail "$flue_error"
fi
flue_report written
