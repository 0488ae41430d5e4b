# shellcheck shell=bash
# As root, after stage_changes.sh: makes the patch. The base's files are in `objects`, or were sent as
# `needed.pack`. A patch of few bytes is printed, which saves a request for it.
: "${store:?}" "${patch_limit:?}" "${inline_limit:?}"
set -u
umask 077
export GIT_DIR=$store
errors=$store/errors
digest='' problem=''
# shellcheck source=/dev/null # the two variables above, as stage_changes.sh left them
. "$store/state"
if [ -f "$store/needed.pack" ]; then
  git index-pack --stdin <"$store/needed.pack" >/dev/null 2>>"$errors" || { tail -n 1 "$errors"; exit 95; }
  rm -f "$store/needed.pack"
fi
# The entries before and after, each in an index of their own.
make_patch() {
  rm -f "$store/old.index" "$store/new.index"
  {
    GIT_INDEX_FILE=$store/old.index git update-index -z --index-info <"$store/old" &&
      GIT_INDEX_FILE=$store/new.index git update-index -z --index-info <"$store/new" &&
      tree=$(GIT_INDEX_FILE=$store/old.index git write-tree --missing-ok)
  } 2>>"$errors" || { tail -n 1 "$errors"; exit 95; }
  GIT_INDEX_FILE=$store/new.index git diff-index --cached -p --binary --full-index --no-renames --no-ext-diff \
    --no-textconv --no-color "$tree" 2>>"$errors" | head -c "$((patch_limit + 1))" >"$store/changes.patch"
  code=${PIPESTATUS[0]}
  bytes=$(wc -c <"$store/changes.patch")
  [ "$code" = 0 ] || [ "$bytes" -gt "$patch_limit" ] || { tail -n 1 "$errors"; exit 95; }
}
# Takes entries out, new files first and the largest of them first, until what stays has at most $1 bytes. One line for
# each: whether the path is in the base, the bytes, the path.
make_smaller() {
  cut -z -f 2- "$store/old" | tr '\0\n' '\n\1' >"$store/old.paths"
  cut -z -d ' ' -f 2 "$store/new" | tr '\0' '\n' | git cat-file --batch-check='%(objectsize)' >"$store/new.sizes"
  cut -z -f 2- "$store/new" | tr '\0\n' '\n\1' | paste "$store/new.sizes" - | LC_ALL=C awk -F '\t' '
    NR == FNR { base[$0]; next }
    { size = $1; sub(/^[^\t]*\t/, ""); printf "%d\t%d\t%s\n", ($0 in base), size, $0 }
  ' "$store/old.paths" - | LC_ALL=C sort -t "$(printf '\t')" -k 1,1n -k 2,2nr >"$store/new.ordered"
  LC_ALL=C awk -F '\t' -v budget="$1" '
    { sizes[NR] = $2; sub(/^[^\t]*\t[^\t]*\t/, ""); names[NR] = $0; total += sizes[NR] }
    END { for (i = 1; i <= NR && total > budget; i++) { print names[i]; total -= sizes[i] } }
  ' "$store/new.ordered" | tr '\n\1' '\0\n' | sort -z >"$store/dropped"
  cat "$store/dropped" >>"$store/bulk"
  for list in old new; do
    cut -z -f 2- "$store/$list" | paste -z - "$store/$list" >"$store/$list.named"
    sort -z -t "$(printf '\t')" -k 1,1 "$store/$list.named" |
      LC_ALL=C join -z -t "$(printf '\t')" -v 1 - "$store/dropped" | cut -z -f 2- | sort -z >"$store/$list.rest"
    mv "$store/$list.rest" "$store/$list"
  done
}
: >"$store/bulk"
make_patch
for parts in 2 4 8; do
  [ "$bytes" -gt "$patch_limit" ] || break
  make_smaller "$((patch_limit / parts))"
  make_patch
done
if [ -s "$store/bulk" ]; then
  digest=$(cat "$store/old" "$store/nul" "$store/new" | sha256sum)
  digest=${digest%% *}
fi
[ "$problem" != unreadable ] || grep -a '^error\|^warning\|^fatal' "$errors" | head -n 1 | cut -c 1-300
print_names bulk "$store/bulk" 3
[ "$bytes" -gt "$inline_limit" ] || printf '\nflue-ci-patch=%s\n' "$(base64 <"$store/changes.patch" | tr -d '\n')"
printf '\nflue-ci-collected=%s %s %s\n' "$digest" "$((bytes))" "$problem"
