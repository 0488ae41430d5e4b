#!/bin/bash
# Replaces a part of a file that still is what it was: the whole change or nothing, a link stays one, and so does the
# mode. Assigned in front: path, digest (SHA-256 of the content that the change was made for), head and tail (bytes that
# stay at its beginning and its end), middle (what is to be between them, in base64). Exit code 3: the content is another
# by now; 4: the user may not change the file.
# shellcheck disable=SC2154 # the variables come before the script
export LC_ALL=C
target=$path
[ ! -L "$path" ] || target=$(realpath -- "$path") || exit 1
[ -f "$target" ] || exit 3
[ -w "$target" ] || exit 4
begin
{ head -c "$head" -- "$target" && printf %s "$middle" | base64 -d && tail -c "$tail" -- "$target"; } >"$new" || exit 1
[ "$(sha256sum <"$target")" = "$digest  -" ] || exit 3
finish
