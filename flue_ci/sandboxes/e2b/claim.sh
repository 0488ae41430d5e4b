#!/bin/bash
# Asks whether a command has started whose request was not answered. Prints the token and a word: `claimed` when it has
# not and, because the mark that it makes first is ours now, never will; `started`; or `unknown` where marks cannot be
# made. Assigned in front: flue_mark (a file), flue_token.
# shellcheck disable=SC2154 # the variables come before the script
set -C
flue_word=claimed
{ : >"$flue_mark"; } 2>/dev/null || flue_word=unknown
[ "$flue_word" = claimed ] || [ ! -e "$flue_mark" ] || flue_word=started
printf '\n%s %s\n' "$flue_token" "$flue_word"
