# shellcheck shell=bash
# After own_repository.sh: writes what other branches, stashes and commits that no branch holds differ from the base as
# patches. Only the list of branches comes from the agent's repository.
: "${folder?}" "${agent:?}" "${base:?}" "${tree:?}" "${most:?}" "${seconds:?}"
[ -n "$folder" ] || { printf '\nflue-ci-other=0 0 - -\n'; exit 0; }
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
count=0 more=0 trees=" $tree "
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
  write_patch "$result" "$count"
  label=$(printf '%s' "${name:0:300}" | base64)
  printf '\nflue-ci-work=%s %s %s %s\n' "$count" "$kind" "${state:?}" "${label//$'\n'/}"
  count=$((count + 1))
done < <(cat "$folder/branches" "$folder/stashes" "$folder/detached" | awk '!seen[$2]++')
place=$(printf '%s' "$folder" | base64)
printf '\nflue-ci-other=%s %s %s %s\n' "$count" "$more" "$problem" "${place//$'\n'/}"
