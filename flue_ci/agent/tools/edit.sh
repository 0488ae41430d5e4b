#!/bin/bash
# Replaces a piece of a file that nobody has read yet, in one command: the whole change or nothing. Assigned in front:
# path, limit (bytes that the file may have), program (edit.pl), everywhere (1 or nothing), and in hex old and new.
# Prints how many pieces were replaced and the line of the first, or, with exit code 3, the whole content in base64:
# `old` is not there once, or the file needs a closer look. Any other exit code: nothing has happened.
# shellcheck disable=SC2154 # the variables come before the script
export LC_ALL=C
target=$path
[ ! -L "$path" ] || target=$(realpath -- "$path") || exit 127
[ -f "$target" ] && [ -r "$target" ] && [ -w "$target" ] && command -v perl >/dev/null || exit 127
[ "$(stat -c %s -- "$target")" -le "$limit" ] || exit 127
begin
copy=$(mktemp) && cat -- "$target" >"$copy" || exit 127
done=$(printf '%s\n' "$old" "$new_text" | perl -e "$program" -- "$copy" "$new" "$everywhere")
code=$?
if [ "$code" -eq 0 ] && cmp -s -- "$target" "$copy"; then
  finish || exit 1
  printf '%s\n' "$done"
elif [ "$code" -eq 3 ]; then
  base64 -w0 -- "$copy"
  exit 3
else
  exit 127
fi
