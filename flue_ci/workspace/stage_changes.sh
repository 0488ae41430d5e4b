# shellcheck shell=bash
# As root, with a repository, index and configuration of its own: takes what is in the work tree into that index. Only
# commands of git's that read files and names are used here: `git add` and `git status` would start another git in every
# repository that somebody made inside, with the configuration of that one. Such a repository is left out and named.
# What cannot be taken does not end the work: it stays as it is in the base, and is named at the end.
: "${root:?}" "${store:?}" "${file_limit:?}" "${count_limit:?}" "${base_count:?}" "${bytecode:?}" "${submodules?}"
: "${has_objects:?}" "${inline_limit:?}"
set -u
umask 077
[ -f "$store/base.index" ] || exit 94
{ [ -d "$root" ] && [ ! -L "$root" ] && cd -P -- "$root" && [ "$(pwd -P)" = "$root" ]; } || exit 93
export GIT_DIR=$store GIT_WORK_TREE=. GIT_INDEX_FILE=$store/work.index
errors=$store/errors
problem=
tries=20 # for one path
own_trouble='into database\|No space left\|unable to write\|unable to create' # of git with the store, not with a file
if [ ! -f "$store/before" ]; then
  GIT_INDEX_FILE=$store/base.index git ls-files -s -z >"$store/all"
  cut -z -f 2- "$store/all" >"$store/base"
  grep -az '^160000 ' "$store/all" | cut -z -f 2- >"$store/links"
  printf '\0' >"$store/nul"
  sort -z "$store/all" >"$store/before"
fi

# The base's index, in which links to other repositories are never looked at.
start_index() {
  rm -f "$GIT_INDEX_FILE"* "$store/changes.patch"
  cp "$store/base.index" "$GIT_INDEX_FILE"
  [ ! -s "$store/links" ] || git update-index --skip-worktree -z --stdin <"$store/links"
  # git would read all files again that are as young as its index. Which of them changed is known better, see list_files.
  printf -v now '%(%s)T' -1
  touch -d "@$((now + 10))" "$GIT_INDEX_FILE"
}
# In one walk: what git cannot keep, a dot for each file, and which ones changed since the base was laid out. The size
# and the time of a file may be made to look unchanged; the time of its last status change may not.
list_files() {
  dots=$(find . -name .git -prune -o \
    \( -type f -size +"${file_limit}c" -fprintf "$store/huge" '%P\0' -o \
    ! -type f ! -type d ! -type l -fprintf "$store/special" '%P\0' \) , \
    -type f -printf . , \
    \( -type f -o -type l \) -cnewer "$store/base.index" -fprintf "$store/newer" '%P\0' 2>/dev/null)
}
# Of names from standard input: what an interpreter or compiler made beside the sources.
only_bytecode() { LC_ALL=C grep -azE "$bytecode"; }
without_bytecode() { LC_ALL=C grep -azvE "$bytecode"; }
# Of very many new files, such as packages that are missing in .gitignore, so many as there may be: first those in
# directories of the base, then the smallest new directories.
choose_new_files() {
  : >"$store/crowd"
  others=(-o)
  [ "${#dots}" -gt "$((base_count + count_limit))" ] || return 0
  git ls-files -z -o --exclude-standard 2>/dev/null | without_bytecode | sort -z >"$store/new.all"
  [ "$(count_names "$store/new.all")" -gt "$count_limit" ] || return 0
  others=()
  room=$((count_limit - $(git ls-files -z -d -m 2>/dev/null | count_names -)))
  [ "$room" -gt 0 ] || room=0
  git ls-files -z -o --exclude-standard --directory 2>/dev/null | grep -az '/$' | tr '\0\n' '\n\1' >"$store/new.folders"
  tr '\0\n' '\n\1' <"$store/new.all" | LC_ALL=C awk '
    NR == FNR { folders[$0]; next }
    {
      folder = ""; path = ""; count = split($0, parts, "/")
      for (i = 1; i < count && folder == ""; i++) { path = path parts[i] "/"; if (path in folders) folder = path }
      names[++total] = $0; places[total] = folder; if (folder != "") sizes[folder]++
    }
    END { for (i = 1; i <= total; i++) printf "%012d\t%s\t%s\n", sizes[places[i]], places[i], names[i] }
  ' "$store/new.folders" - | LC_ALL=C sort -s -t "$(printf '\t')" -k 1,2 | cut -f 3- >"$store/new.ordered"
  head -n "$room" "$store/new.ordered" | tr '\n\1' '\0\n' >"$store/new.chosen"
  tail -n "+$((room + 1))" "$store/new.ordered" | tr '\n\1' '\0\n' >"$store/crowd"
}
# What git sees to differ, and files that look unchanged to it, but are not. Pipes and devices count as deleted, huge
# files stay out. New bytecode is none of it: it says nothing that the sources do not say, and a check could run it in
# their place.
list_changes() {
  [ ! -s "$store/special" ] || git update-index --force-remove -z --stdin <"$store/special"
  git ls-files -z -d -m "${others[@]}" --exclude-standard >"$store/seen" 2>"$errors"
  [ ! -s "$store/crowd" ] || cat "$store/new.chosen" >>"$store/seen"
  sort -z "$store/newer" | comm -z -12 - "$store/base" | sort -zu - "$store/seen" >"$store/again"
  only_bytecode <"$store/again" | comm -z -23 - "$store/base" >"$store/bytecode"
  : >"$store/oversize"
  if [ -s "$store/huge" ]; then
    sort -zu "$store/seen" -o "$store/seen"
    sort -z "$store/huge" | comm -z -12 - "$store/seen" | comm -z -23 - "$store/bytecode" >"$store/oversize"
  fi
  sort -zu "$store/oversize" "$store/links" "$store/bytecode" | comm -z -13 - "$store/again" >"$store/paths"
  [ ! -s "$store/contents" ] || drop_contents
}
# Of files that Git LFS keeps the base has pointers. One that still holds what was laid out is no change, its mode is.
drop_contents() {
  local -A digests=()
  while IFS= read -r -d '' digest && IFS= read -r -d '' path; do digests[$path]=$digest; done <"$store/contents"
  while IFS= read -r -d '' path; do
    digest=${digests[$path]-}
    if [ -z "$digest" ] || ! is_entry "$path" || [ -L "$path" ] || [ "$(sha256sum <"$path")" != "$digest  -" ]; then
      printf '%s\0' "$path"
    elif [ -x "$path" ]; then
      git update-index --chmod=+x -- "$path"
    else
      git update-index --chmod=-x -- "$path"
    fi
  done <"$store/paths" >"$store/one"
  mv "$store/one" "$store/paths"
}
has_seen_all() {
  [ ! -s "$errors" ] || ! grep -aq 'could not open directory' "$errors"
}
make_readable() {
  find . -name .git -prune -o \
    \( -type d ! \( -readable -executable \) -o -type f ! -readable \) -exec chmod u+rwX {} + 2>/dev/null
}
# A file or link, no way to which leads over a link.
is_entry() {
  parent=$1
  while [[ $parent == */* ]]; do
    parent=${parent%/*}
    [ ! -L "$parent" ] || return 1
  done
  [ -L "$1" ] || [ -f "$1" ]
}
# The names of repositories inside end with a slash.
add_list() {
  : >"$store/entries"
  : >"$store/inner"
  [ -s "$store/paths" ] || return 0
  while IFS= read -r -d '' path; do
    if [[ $path == */ ]]; then
      printf '%s\0' "${path%/}" >&3
    elif is_entry "$path"; then
      printf '%s\0' "$path"
    fi
  done <"$store/paths" >"$store/entries" 3>"$store/inner"
  git update-index --force-remove -z --stdin <"$store/paths" 2>/dev/null
  update "$store/entries"
}
update() {
  git update-index --add --remove --replace -z --stdin <"$1" >"$store/messages" 2>&1 &&
    { [ ! -s "$store/messages" ] || ! grep -q '^Ignoring' "$store/messages"; }
}
# One path, which may be written, deleted or replaced at this very moment: git fails when that happens between its looks
# at the file. Which of the states is taken does not matter. A path that cannot be read stays as it is in the base.
add_one() {
  printf '%s\0' "$1" >"$store/one"
  for ((attempt = 0; attempt < tries; attempt++)); do
    is_entry "$1" || return 0
    update "$store/one" && return 0
  done
  if ! grep -aq '^error\|^fatal\|^Ignoring' "$store/messages" || grep -aq "$own_trouble" "$store/messages"; then
    tail -n 1 "$store/messages"
    exit 95
  fi
  printf '%s\0' "$1" >>"$store/unreadable"
  GIT_INDEX_FILE=$store/base.index git ls-files -s -z -- ":(top,literal)$1" | git update-index -z --index-info
  return 1
}
# A process that replaces a file again and again can be in the way of every list. Then the files are taken one by one.
add_each() {
  while IFS= read -r -d '' path; do
    add_one "$path" || tries=1 # the others are not likely to be read either
  done <"$store/entries"
  [ "$tries" -gt 1 ] && has_seen_all
}
added=no
: >"$store/unreadable"
for _ in 1 2 3 4 5; do
  start_index
  list_files
  choose_new_files
  list_changes
  if add_list && has_seen_all; then
    added=yes
    break
  fi
  make_readable
done
[ "$added" = yes ] || add_each || has_seen_all || problem=unreadable

# Of the agent's own index only names are taken: ignored files that it tracks all the same, and ignored files of the base
# that it tracks no longer, which it deleted from the repository and left on the disk.
if [ -d .git ] && [ ! -L .git ] && [ -f .git/index ] && [ ! -L .git/index ]; then
  git ls-files -z >"$store/ours"
  head -c 300000000 .git/index >"$store/agent.index"
  # A small index can stand for very long lists.
  (ulimit -v 4000000; GIT_INDEX_FILE=$store/agent.index git ls-files -z) 2>/dev/null | head -c 300000000 >"$store/theirs"
  read_index=${PIPESTATUS[*]}
  comm -z -23 "$store/theirs" "$store/ours" >"$store/more" 2>/dev/null
  if [ -s "$store/more" ]; then
    while IFS= read -r -d '' path; do
      case /$path/ in */.git/* | */../*) continue ;; esac
      ! is_entry "$path" || printf '%s\0' "$path"
    done <"$store/more" | comm -z -23 - <(sort -zu "$store/links" "$store/huge") >"$store/forced"
    only_bytecode <"$store/forced" >>"$store/bytecode"
    without_bytecode <"$store/forced" >"$store/entries"
    [ ! -s "$store/entries" ] || update "$store/entries" || add_each
  fi
  comm -z -13 "$store/theirs" "$store/base" >"$store/less" 2>/dev/null
  # An index that is empty or cannot be read says nothing of what was left out of it.
  if [ "$read_index" = "0 0" ] && [ -s "$store/theirs" ] && [ -s "$store/less" ]; then
    comm -z -12 "$store/less" "$store/ours" | comm -z -23 - "$store/links" |
      while IFS= read -r -d '' path; do ! is_entry "$path" || printf './%s\0' "$path"; done |
      git check-ignore -z --stdin --no-index 2>/dev/null | cut -z -b 3- |
      git update-index --force-remove -z --stdin
  fi
fi

# Only what differs goes on: the entries before and after. Their digest tells the host what the patch has to lead to.
# A directory that became a repository at the last moment is an entry, too; none of them goes on. Of those after, each
# begins with a tab.
git ls-files -s -z 2>>"$errors" | sort -z >"$store/after"
[ "${PIPESTATUS[*]}" = "0 0" ] || { tail -n 1 "$errors"; exit 95; }
comm -z -3 "$store/before" "$store/after" >"$store/all"
while IFS= read -r -d '' entry; do
  case $entry in
    $'\t160000 '*) printf '%s\0' "${entry#$'\t'*$'\t'}" >&3 ;;
    $'\t'*) printf '%s\0' "${entry#$'\t'}" >&4 ;;
    '160000 '*) ;;
    *)
      printf '%s\0' "$entry" >&5
      blob=${entry#* }
      printf '%s\n' "${blob%% *}" >&6
      ;;
  esac
done <"$store/all" 3>>"$store/inner" 4>"$store/new" 5>"$store/old" 6>"$store/needed"
digest=none
if [ -s "$store/old" ] || [ -s "$store/new" ] || [ -n "$problem" ]; then
  digest=$(cat "$store/old" "$store/nul" "$store/new" | sha256sum)
  digest=${digest%% *}
fi
printf 'digest=%s\nproblem=%s\n' "$digest" "$problem" >"$store/state"
# Submodules whose directory is not as empty as it was laid out. Those that came along are looked at for themselves.
if [ -s "$store/links" ]; then
  printf '%s\n' "$submodules" | tr '\n' '\0' | sort -z | comm -z -23 "$store/links" - >"$store/empty"
  sed -z 's|^|./|' "$store/empty" | xargs -0 -r bash -c 'find "$@" -maxdepth 0 -type d -empty -print0' bash 2>/dev/null |
    cut -z -b 3- | sort -z | comm -z -13 - "$store/empty" >>"$store/inner"
fi
for list in inner bytecode unreadable; do
  [ ! -s "$store/$list" ] || sort -zu "$store/$list" -o "$store/$list"
done
# Whether the agent's repository may hold work besides, by the names and times of its files: refs other than HEAD's, and
# commits that HEAD was moved away from.
besides=no
if [ -d .git ] && [ ! -L .git ]; then
  ref=
  [ ! -f .git/HEAD ] || [ -L .git/HEAD ] || IFS= read -r -n 4096 ref <.git/HEAD
  [[ $ref == 'ref: '* ]] || ref=
  [ -z "$(find .git/refs/heads .git/refs/stash .git/packed-refs .git/worktrees .git/reftable -type f \
    -cnewer "$store/base.index" ! -path ".git/${ref#ref: }" -print -quit 2>/dev/null)" ] || besides=yes
  [ ! -f .git/logs/HEAD ] || [ -L .git/logs/HEAD ] || ! grep -aq 'checkout: moving from' .git/logs/HEAD || besides=yes
fi
print_names left-out "$store/inner" 3
print_names bytecode "$store/bytecode" 3
print_names oversize "$store/oversize" 3
print_names unreadable "$store/unreadable" 3
print_names crowd "$store/crowd" 3
printf '\nflue-ci-besides=%s\n' "$besides"
printf '\nflue-ci-staged=%s\n' "$digest"
[ "$digest" != none ] || exit 0
[ "$has_objects" = yes ] || [ "$(wc -c <"$store/needed")" -gt "$inline_limit" ] ||
  printf '\nflue-ci-needed=%s\n' "$(base64 <"$store/needed" | tr -d '\n')"
