# shellcheck shell=bash
# As the ordinary user, once all of its processes are ended: writes the commits between the base and HEAD, each as a
# patch against the base and a message. Only the name of HEAD comes from the agent's repository; all else from one of our
# own beside its objects, so that neither its configuration nor its grafts and replacements count.
: "${root:?}" "${base:?}" "${tree:?}" "${config:?}" "${patch_limit:?}" "${most:?}"
set -u
umask 077
finish() {
  place=$(printf '%s' "${folder:-}" | base64)
  printf '\nflue-ci-commits=%s %s %s\n' "$1" "$2" "${place//$'\n'/}"
  exit 0
}
cd -P -- "$root" 2>/dev/null || exit 93
[ -d .git/objects ] || finish 0 none
folder=$(mktemp -d) || exit 1
agent=$PWD/.git own=$folder/git
mkdir -p "$own/refs" "$own/objects" && printf '%s' "$config" >"$own/config" && printf '%s\n' "$base" >"$own/HEAD" || exit 1
[ ! -f .git/shallow ] || head -c 10000000 .git/shallow >"$own/shallow"
export GIT_DIR=$own GIT_ALTERNATE_OBJECT_DIRECTORIES=$agent/objects
export GIT_GRAFT_FILE=/dev/null GIT_NO_LAZY_FETCH=1 GIT_ALLOW_PROTOCOL=none
head=$(GIT_DIR=$agent git rev-parse -q --verify 'HEAD^{commit}' 2>/dev/null | head -c 100)
[ -n "$head" ] || finish 0 broken
[ "$head" != "$base" ] || finish 0 none
(ulimit -t 20; git rev-list --reverse --topo-order --parents -n "$((most + 1))" "$base..$head" 2>/dev/null) >"$folder/list" ||
  finish 0 broken
[ "$(wc -l <"$folder/list")" -le "$most" ] || finish 0 many
count=0 before=$base room=$((2 * patch_limit))
while read -r commit parent more; do
  if [ "$parent" != "$before" ] || [ -n "$more" ]; then finish 0 merge; fi
  limit=$((patch_limit < room ? patch_limit : room))
  (ulimit -t 60; git diff-tree -r -p --binary --full-index --no-renames --no-ext-diff --no-textconv --no-color "$tree" \
    "$commit^{tree}" 2>/dev/null) | head -c "$((limit + 1))" >"$folder/$count.patch"
  status=${PIPESTATUS[0]}
  bytes=$(wc -c <"$folder/$count.patch")
  [ "$bytes" -le "$limit" ] || finish 0 large
  [ "$status" = 0 ] || finish 0 broken
  room=$((room - bytes))
  git cat-file commit "$commit" 2>/dev/null | sed '1,/^$/d' | head -c 20000 >"$folder/$count.message"
  count=$((count + 1)) before=$commit
done <"$folder/list"
[ "$before" = "$head" ] || finish 0 merge
finish "$count" whole
