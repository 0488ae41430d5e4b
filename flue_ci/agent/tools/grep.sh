# shellcheck shell=bash
# Searches the file or directory "$path" for "$pattern", in the syntax "$syntax" (-P Perl's, -E POSIX extended). Prints
# at most "$lines" lines, each cut after "$bytes" bytes; paths count from the top of the repository. "$case" is -i to
# ignore case, "$glob" a pathspec or empty. The exit code is git's: 0 for matches, 1 for none, more for an error whose
# text is then the output; 141 when its output was cut; 9 when there is no such path.
: "${path:?}" "${pattern?}" "${glob?}" "${case?}" "${syntax:?}" "${lines:?}" "${bytes:?}"
only=$glob
if [ -d "$path" ]; then
  cd -- "$path"
else
  cd -- "$(dirname -- "$path")" && only=${glob:-$(basename -- "$path")}
fi || exit 9
git -c core.quotePath=false -c core.fsmonitor=false -c color.ui=false \
  grep -n -I --untracked --full-name "$syntax" ${case:+"$case"} -e "$pattern" -- "${only:-.}" 2>&1 |
  cut -b "1-$bytes" | head -n "$lines"
exit "${PIPESTATUS[0]}"
