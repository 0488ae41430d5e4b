# shellcheck shell=bash
# As root, with a repository, index and configuration of its own: takes what is in the work tree into that index. Of the
# agent's index only names are read, and only to find files that it tracks although they are ignored. A problem does not
# end the work: it is reported on the last line of make_patch.sh, together with the patch of everything else.
: "${root:?}" "${store:?}" "${file_limit:?}" "${count_limit:?}" "${base_count:?}"
set -u
umask 077
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin:$PATH
[ -f "$store/base.index" ] || exit 94
{ [ -d "$root" ] && [ ! -L "$root" ] && cd -P -- "$root" && [ "$(pwd -P)" = "$root" ]; } || exit 93
export GIT_DIR=$store GIT_WORK_TREE=$root GIT_INDEX_FILE=$store/work.index
errors=$store/errors
rm -rf "$store/work.index"* "$store/changes.patch"
cp "$store/base.index" "$GIT_INDEX_FILE"
# git would read all files again that are as young as its index. Which of them changed is known better, see list_files.
touch -d "@$(($(date +%s) + 10))" "$GIT_INDEX_FILE"
untracked=0
problem=
tries=20 # for one path

# In one walk: what git cannot keep, how many files there are, and which ones changed since the base was laid out. The
# size and the time of a file may be made to look unchanged; the time of its last status change may not.
list_files() {
  find . -name .git -prune -o \
    \( -type f -size +"${file_limit}c" -o ! -type f ! -type d ! -type l \) -fprint0 "$store/special" , \
    -type f -fprintf "$store/dots" . , \
    \( -type f -o -type l \) -cnewer "$store/base.index" -fprintf "$store/newer" '%P\0' 2>/dev/null
}
# Huge files stay out, pipes and devices count as deleted. Very many new files, such as packages that are missing in
# .gitignore, would take minutes: they stay out, too.
exclude_special() {
  : >"$store/oversize"
  printf ':(top)\0' >"$store/paths"
  scope=-A
  if [ "$(wc -c <"$store/dots")" -gt "$((base_count + count_limit))" ]; then
    untracked=$(git ls-files -z -o --exclude-standard 2>/dev/null | tr -dc '\0' | wc -c)
    if [ "$untracked" -gt "$count_limit" ]; then
      scope=-u
      problem=crowded
    fi
  fi
  while IFS= read -r -d '' path; do
    if [ ! -f "$path" ]; then
      printf '%s\0' "${path#./}" | git update-index --force-remove -z --stdin
    elif [ -n "$(git ls-files -o -m --exclude-standard -- ":(top,literal)${path#./}" | head -c 1)" ]; then
      printf ':(top,exclude,literal)%s\0' "${path#./}" >>"$store/paths"
      printf '%s\0' "${path#./}" >>"$store/oversize"
    fi
  done <"$store/special"
}
add_all() {
  git add "$scope" --ignore-errors --pathspec-from-file="$store/paths" --pathspec-file-nul >"$errors" 2>&1 || return 1
  ! grep -q 'could not open directory' "$errors"
}
# Files that look unchanged to git, but are not.
list_disguised() {
  git ls-files -z >"$store/ours"
  sort -z "$store/newer" | comm -z -12 - "$store/ours" >"$store/again"
}
add_disguised() {
  list_disguised
  [ -s "$store/again" ] || return 0
  git update-index --force-remove -z --stdin <"$store/again"
  git update-index --add --remove -z --stdin <"$store/again" >"$errors" 2>&1
}
make_readable() {
  find . -name .git -prune -o \
    \( -type d ! \( -readable -executable \) -o -type f ! -readable \) -exec chmod u+rwX {} + 2>/dev/null
}
# A file or link, no way to which leads over a link; or a repository inside, whose name ends with a slash.
is_entry() {
  parent=${1%/}
  while [[ $parent == */* ]]; do
    parent=${parent%/*}
    [ ! -L "$parent" ] || return 1
  done
  [ -L "$1" ] || [ -f "$1" ] || [[ $1 == */ ]]
}
add_list() {
  for _ in 1 2 3 4 5; do
    while IFS= read -r -d '' path; do
      ! is_entry "$path" || printf '%s\0' "$path"
    done <"$store/paths" >"$store/entries"
    if git update-index --add --remove --replace -z --stdin <"$store/entries" >"$store/messages" 2>&1; then
      ! grep -q '^Ignoring' "$store/messages"
      return
    fi
  done
  return 1
}
# One path, which may be written, deleted or replaced at this very moment: git fails when that happens between its looks
# at the file. Which of the states is taken does not matter. A path that cannot be read stays as it is in the base.
add_one() {
  for ((attempt = 0; attempt < tries; attempt++)); do
    is_entry "$1" || return 0
    git add -f -- ":(top,literal)$1" >"$store/messages" 2>&1 && return 0
  done
  cat "$store/messages" >>"$errors"
  GIT_INDEX_FILE=$store/base.index git ls-files -s -z -- ":(top,literal)$1" | git update-index -z --index-info
  return 1
}
# A process that replaces a file again and again can be in the way of every walk through the whole tree, where much time
# passes between listing a file and reading it. With a list of names there is little time in between, and where even that
# fails, or git does not accept a name, the files are taken one by one.
add_by_name() {
  list_disguised
  others=(-o)
  [ "$scope" = -A ] || others=()
  git ls-files -z -d -m "${others[@]}" --exclude-standard >>"$store/again" 2>"$errors"
  sort -z "$store/oversize" -o "$store/excluded"
  sort -zu "$store/again" | comm -z -23 - "$store/excluded" >"$store/paths"
  git update-index --force-remove -z --stdin <"$store/paths" 2>/dev/null
  add_list || while IFS= read -r -d '' path; do
    add_one "$path" || tries=1 # the others are not likely to be read either
  done <"$store/paths"
  git ls-files -z >"$store/ours"
  [ ! -s "$errors" ]
}
added=no
for _ in 1 2 3; do
  list_files
  exclude_special
  if add_all && add_disguised; then
    added=yes
    break
  fi
  make_readable
done
if [ "$added" = no ]; then
  list_files
  exclude_special
  add_by_name || problem=unreadable
fi

# Of the agent's own index only names are taken: ignored files that it tracks all the same.
if [ -d .git ] && [ ! -L .git ] && [ -f .git/index ] && [ ! -L .git/index ]; then
  head -c 300000000 .git/index >"$store/agent.index"
  GIT_INDEX_FILE=$store/agent.index git ls-files -z >"$store/theirs" 2>/dev/null
  comm -z -23 "$store/theirs" "$store/ours" 2>/dev/null | while IFS= read -r -d '' path; do
    case /$path/ in */.git/* | */../*) continue ;; esac
    is_entry "$path" || continue
    if [ -L "$path" ] || [ "$(stat -c %s -- "$path")" -le "$file_limit" ]; then printf '%s\0' "$path"; fi
  done >"$store/extra"
  [ ! -s "$store/extra" ] || git update-index --add -z --stdin <"$store/extra" >/dev/null 2>&1 ||
    while IFS= read -r -d '' path; do add_one "$path"; done <"$store/extra"
fi

# Only what differs goes on: the entries before and after. Their digest tells the host what the patch has to lead to.
[ -f "$store/before" ] || GIT_INDEX_FILE=$store/base.index git ls-files -s -z | sort -z >"$store/before"
git ls-files -s -z 2>>"$errors" | sort -z >"$store/after"
[ "${PIPESTATUS[*]}" = "0 0" ] || { tail -n 1 "$errors"; exit 95; }
comm -z -23 "$store/before" "$store/after" >"$store/old"
comm -z -13 "$store/before" "$store/after" >"$store/new"
cut -z -c 8- "$store/old" | cut -z -d ' ' -f 1 | tr '\0' '\n' >"$store/needed"
digest=$({ cat "$store/old"; printf '\0'; cat "$store/new"; } | sha256sum | cut -c 1-64)
printf 'digest=%s\nproblem=%s\nuntracked=%s\n' "$digest" "$problem" "$((untracked))" >"$store/state"
[ -s "$store/old" ] || [ -s "$store/new" ] || [ -n "$problem" ] || [ -s "$store/oversize" ] || digest=none
printf '\nflue-ci-staged=%s\n' "$digest"
[ "$digest" != none ] || exit 0
