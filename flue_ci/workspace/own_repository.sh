# shellcheck shell=bash
# Before a script that looks at the agent's commits, as the ordinary user, once all of its processes are ended: makes a
# repository of our own beside the agent's objects, so that neither its configuration nor its grafts and replacements
# count. `folder` is where it and the patches are, empty where the agent has no repository.
# shellcheck disable=SC2034 # what reads `agent` and `state` too
: "${root:?}" "${base:?}" "${tree:?}" "${config:?}" "${patch_limit:?}"
set -u
umask 077
cd -P -- "$root" 2>/dev/null || exit 93
folder='' agent=$PWD/.git room=$((2 * patch_limit)) # bytes that all patches together may have
if [ -d .git/objects ]; then
  folder=$(mktemp -d) || exit 1
  own=$folder/git
  mkdir -p "$own/refs" "$own/objects" && printf '%s' "$config" >"$own/config" && printf '%s\n' "$base" >"$own/HEAD" || exit 1
  [ ! -f .git/shallow ] || head -c 10000000 .git/shallow >"$own/shallow"
  export GIT_DIR=$own GIT_ALTERNATE_OBJECT_DIRECTORIES=$agent/objects GIT_INDEX_FILE=$folder/index
  export GIT_GRAFT_FILE=/dev/null GIT_NO_LAZY_FETCH=1 GIT_ALLOW_PROTOCOL=none
fi
# The patch from the base to the tree $1 as `NUMBER.patch`; NUMBER is $2. `state` is `whole`, `large` or `broken` then.
write_patch() {
  local limit=$((patch_limit < room ? patch_limit : room)) status bytes
  (ulimit -t 60; git diff-tree -r -p --binary --full-index --no-renames --no-ext-diff --no-textconv --no-color "$tree" \
    "$1" 2>/dev/null) | head -c "$((limit + 1))" >"$folder/$2.patch"
  status=${PIPESTATUS[0]}
  bytes=$(wc -c <"$folder/$2.patch")
  state=whole
  if [ "$bytes" -gt "$limit" ]; then
    state=large
  elif [ "$status" != 0 ]; then
    state=broken
  else
    room=$((room - bytes))
  fi
}
