# shellcheck shell=bash
# As the user, in a sandbox of which setup is all that anybody did: puts the entries of `inbox.tar` where `inbox.paths`
# names them, and deletes what it names besides. Neither a link nor a file on the way is followed or spared.
: "${root:?}" "${inbox:?}" "${count:?}" "${archive?}" "${paths?}"
set -u
umask 022
trap 'rm -f -- "$inbox.tar" "$inbox.paths" 2>/dev/null' EXIT # where root is somebody else, they stay
{ [ -d "$root" ] && [ ! -L "$root" ] && cd -P -- "$root" && [ "$(pwd -P)" = "$root" ]; } || exit 93
fail() {
  printf '%s\n' "${1%%$'\n'*}"
  exit 1
}
if [ -n "$paths" ]; then # so few bytes that they came along, in base64
  message=$({ printf %s "$archive" | base64 -d >"$inbox.tar" && printf %s "$paths" | base64 -d >"$inbox.paths"; } 2>&1) ||
    fail "$message"
fi
# Where everything is there already nothing is written, so that what was built from it stays newer.
[ "$(xargs -0 stat -c . -- <"$inbox.paths" 2>/dev/null | wc -l)" != "$count" ] ||
  tar -df "$inbox.tar" 2>&1 | grep -qv ': \(Mod time\|Uid\|Gid\) differs$' || exit 0
[ -w . ] || chmod u+rwx .
last=
while IFS= read -r -d '' path; do
  [ "${path%/*}" != "$last" ] || continue
  last=${path%/*}
  rest=${path#./}
  parent=.
  while [[ $rest == */* ]]; do
    parent=$parent/${rest%%/*}
    rest=${rest#*/}
    if [ -L "$parent" ] || [ ! -d "$parent" ]; then
      rm -f -- "$parent"
    elif [ ! -w "$parent" ] || [ ! -x "$parent" ]; then
      chmod u+rwx -- "$parent"
    fi
  done
done <"$inbox.paths"
# Compilers and bytecode caches tell a changed file by its time, some by whole seconds and the size. So the files are
# newer than all that setup made of their predecessors, and where one of these is of this very second, of the next one.
printf -v second '%(%s)T' -1
time=
! xargs -0 stat -c %Y -- <"$inbox.paths" 2>/dev/null | grep -qx "$second" || time=@$((second + 1))
if ! xargs -0 rm -rf -- <"$inbox.paths" 2>/dev/null; then
  # shellcheck disable=SC2016 # the inner shell has paths for arguments
  xargs -0 bash -c 'find "$@" -type d -exec chmod u+rwx {} \;' bash <"$inbox.paths" 2>/dev/null
  message=$(xargs -0 rm -rf -- <"$inbox.paths" 2>&1) || fail "$message"
fi
# git knows no empty directories: those that deletions leave go, and tar makes the others again.
xargs -0 dirname -z -- <"$inbox.paths" | sort -zu | xargs -0 rmdir -p --ignore-fail-on-non-empty -- 2>/dev/null
message=$(tar -xmof "$inbox.tar" 2>&1) || fail "$message"
# It cannot for paths that are deleted.
[ -z "$time" ] || xargs -0 touch -c -h -d "$time" -- <"$inbox.paths" 2>/dev/null || :
