# shellcheck shell=bash
# As the ordinary user, once all of its processes are ended: writes what other branches, stashes and commits that no
# branch holds differ from the base as patches. The branch list comes from the agent's repository; all else from one of
# our own beside its objects, so that neither its configuration nor its grafts and replacements count.
: "${root:?}" "${base:?}" "${tree:?}" "${config:?}" "${patch_limit:?}" "${most:?}" "${seconds:?}"
set -u
umask 077
cd -P -- "$root" 2>/dev/null || exit 93
[ -d .git/objects ] || { printf '\nflue-ci-other=0 0 - -\n'; exit 0; }
folder=$(mktemp -d) || exit 1
agent=$PWD/.git own=$folder/git
mkdir -p "$own/refs" "$own/objects" && printf '%s' "$config" >"$own/config" && printf '%s\n' "$base" >"$own/HEAD" || exit 1
[ ! -f .git/shallow ] || head -c 10000000 .git/shallow >"$own/shallow"
export GIT_DIR=$own GIT_ALTERNATE_OBJECT_DIRECTORIES=$agent/objects GIT_INDEX_FILE=$folder/index
export GIT_GRAFT_FILE=/dev/null GIT_NO_LAZY_FETCH=1 GIT_ALLOW_PROTOCOL=none
problem=-
head=$(GIT_DIR=$agent git rev-parse -q --verify HEAD 2>/dev/null | head -c 100)
# Each line: what it is, the commit, the name.
list_branches() {
  GIT_DIR=$agent git for-each-ref --format='branch %(objectname) %(refname:lstrip=2)' refs/heads
}
list_stashes() {
  [ ! -f "$agent/logs/refs/stash" ] || tail -n 1000 "$agent/logs/refs/stash" | tac | awk '{ print "stash", $2, NR - 1 }'
}
list_detached() {
  {
    [ ! -f "$agent/logs/HEAD" ] || tail -c 10000000 "$agent/logs/HEAD" |
      sed -nE 's/^.*\tcheckout: moving from ([0-9a-f]{40,64}) to .*$/\1/p' | tac
    find "$agent/worktrees" -mindepth 2 -maxdepth 2 -name HEAD -type f -exec grep -hxE '[0-9a-f]{40,64}' {} + 2>/dev/null
  } | awk '!seen[$1]++ { print "commit", $1, substr($1, 1, 10) }'
}
list_branches >"$folder/branches" 2>"$folder/errors" || problem=branches
list_stashes >"$folder/stashes"
list_detached >"$folder/detached"
# Of commits on the way to HEAD, and of those of the base, the work tree is the result.
printf '^%s\n' "$base" ${head:+"$head"} >"$folder/known"
{ cat "$folder/known"; sed -E 's/^branch ([0-9a-f]+) .*/^\1/' "$folder/branches"; } >"$folder/held"
# Whether the commit $1 can be reached from those in the list $2. One that cannot be read is not.
is_known() {
  reached=$(ulimit -t 20; { cat "$2"; printf '%s\n' "$1"; } | git rev-list -n 1 --ignore-missing --stdin 2>/dev/null; \
    [ "${PIPESTATUS[1]}" = 0 ] || echo failed)
  [ -z "$reached" ]
}
print_tree() {
  git rev-parse -q --verify "$1^{tree}" 2>/dev/null
}
# What a stash keeps of files that git did not know is a commit of its own.
find_tree() {
  whole=$(print_tree "$2") || return 1
  if [ "$1" = stash ] && others=$(print_tree "$2^3"); then
    rm -f "$GIT_INDEX_FILE"
    git read-tree "$whole" && git ls-tree -r -z --full-tree "$others" | git update-index --replace -z --index-info &&
      whole=$(git write-tree)
  fi 2>/dev/null
  printf '%s\n' "$whole"
}
SECONDS=0
room=$((2 * patch_limit)) count=0 more=0 trees=" $tree "
while read -r kind commit name; do
  if [ "$SECONDS" -gt "$seconds" ]; then
    problem="time"
    break
  fi
  result=$(find_tree "$kind" "$commit") || { problem=objects; continue; }
  case $kind in
    branch) is_known "$commit" "$folder/known" && continue ;;
    commit)
      is_known "$commit" "$folder/held" && continue
      printf '^%s\n' "$commit" >>"$folder/held"
      ;;
  esac
  case $trees in *" $result "*) continue ;; esac
  trees="$trees$result "
  if [ "$count" -ge "$most" ]; then
    more=$((more + 1))
    continue
  fi
  limit=$((patch_limit < room ? patch_limit : room))
  (ulimit -t 60; git diff-tree -r -p --binary --full-index --no-renames --no-ext-diff --no-textconv --no-color "$tree" \
    "$result" 2>/dev/null) | head -c "$((limit + 1))" >"$folder/$count.patch"
  status=${PIPESTATUS[0]}
  bytes=$(wc -c <"$folder/$count.patch")
  state=whole
  if [ "$bytes" -gt "$limit" ]; then
    state=large
  elif [ "$status" != 0 ]; then
    state=broken
  else
    room=$((room - bytes))
  fi
  label=$(printf '%s' "${name:0:300}" | base64)
  printf '\nflue-ci-work=%s %s %s %s\n' "$count" "$kind" "$state" "${label//$'\n'/}"
  count=$((count + 1))
done < <(cat "$folder/branches" "$folder/stashes" "$folder/detached" | awk '!seen[$2]++')
place=$(printf '%s' "$folder" | base64)
printf '\nflue-ci-other=%s %s %s %s\n' "$count" "$more" "$problem" "${place//$'\n'/}"
