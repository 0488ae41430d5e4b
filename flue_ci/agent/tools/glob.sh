# shellcheck shell=bash
# Prints at most "$lines" existing paths that fit the pathspec "$glob", relative to the directory "$path". The exit code
# is 9 when there is no such directory.
: "${path:?}" "${glob:?}" "${lines:?}"
cd -- "$path" || exit 9
git -c core.quotePath=false -c core.fsmonitor=false -c color.ui=false \
  ls-files --cached --others --exclude-standard --deduplicate -- "$glob" 2>&1 |
  while IFS= read -r file; do [ -e "$file" ] && printf '%s\n' "$file"; done | head -n "$lines"
