# shellcheck shell=bash
# As root, after stage_changes.sh: makes the patch. The base's files are in `objects`, or were sent as `needed.pack`.
: "${store:?}" "${patch_limit:?}"
set -u
umask 077
export GIT_DIR=$store
errors=$store/errors
digest='' problem='' untracked=0
# shellcheck source=/dev/null # the three variables above, as stage_changes.sh left them
. "$store/state"
if [ -f "$store/needed.pack" ]; then
  git index-pack --stdin <"$store/needed.pack" >/dev/null 2>>"$errors" || { tail -n 1 "$errors"; exit 95; }
  rm -f "$store/needed.pack"
fi
small_tree() {
  rm -f "$store/small.index"
  GIT_INDEX_FILE=$store/small.index git update-index -z --index-info <"$1" 2>>"$errors" &&
    GIT_INDEX_FILE=$store/small.index git write-tree --missing-ok 2>>"$errors"
}
{ old=$(small_tree "$store/old") && new=$(small_tree "$store/new"); } || { tail -n 1 "$errors"; exit 95; }
count=$(git diff-tree -r -z --name-only --no-renames "$old" "$new" | tr -dc '\0' | wc -c)
git diff-tree -r -p --binary --full-index --no-renames --no-ext-diff --no-textconv --no-color "$old" "$new" \
  2>>"$errors" | head -c "$((patch_limit + 1))" >"$store/changes.patch"
code=${PIPESTATUS[0]}
bytes=$(wc -c <"$store/changes.patch")
[ "$code" = 0 ] || [ "$bytes" -gt "$patch_limit" ] || { tail -n 1 "$errors"; exit 95; }
[ "$problem" != crowded ] || echo "$untracked"
[ "$problem" != unreadable ] || grep -a '^error\|^warning\|^fatal' "$errors" | head -n 1 | cut -c 1-300
[ ! -s "$store/oversize" ] || { problem=oversize; tr '\0\n' '\n?' <"$store/oversize" | head -n 3 | cut -c 1-200; }
printf '\nflue-ci-collected=%s %s %s %s\n' "$digest" "$((bytes))" "$((count))" "$problem"
