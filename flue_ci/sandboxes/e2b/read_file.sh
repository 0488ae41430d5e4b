#!/bin/bash
# Reads a file with the rights of the ordinary user. Prints one line with the token and a report: `problem` with an
# error message, `large` with the size, or `data`, the content as one line of base64, and `end` with how that went.
# Assigned in front: flue_path (absolute), flue_limit (bytes; empty: none), flue_token.
# shellcheck disable=SC2154 # the variables come before the script
export LC_ALL=C
flue_report() { printf '\n%s %s\n' "$flue_token" "$*"; }
flue_fail() {
  flue_report problem "$*"
  exit 0
}
[ ! -d "$flue_path" ] || flue_fail "Is a directory"
[ ! -e "$flue_path" ] || [ -f "$flue_path" ] || flue_fail "Not a regular file"
{ exec 3<"$flue_path"; } 2>/dev/null || flue_fail "$({ : <"$flue_path"; } 2>&1)"
if [ -n "$flue_limit" ]; then
  flue_size=$(stat -L -c %s /dev/fd/3)
  if [ "$flue_size" -gt "$flue_limit" ]; then
    flue_report large "$flue_size"
    exit 0
  fi
  flue_report data
  head -c "$((flue_limit + 1))" <&3 | base64 -w 0
else
  flue_report data
  cat <&3 | base64 -w 0
fi
flue_report end "${PIPESTATUS[*]}"
