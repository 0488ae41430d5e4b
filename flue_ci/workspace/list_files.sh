# shellcheck shell=bash
# As root: lists all files of the user's home in the file `list` of the store, each with the time of its last status
# change, which nobody can set. The list `files.after` is then compared with `files.before`.
: "${root:?}" "${store:?}" "${home:?}" "${list:?}" "${changed?}" "${most:?}"
set -u
umask 077
[ -f "$store/base.index" ] || { echo "root's own files were deleted in the sandbox"; exit 1; }
cd -P -- "$home" || exit 1
tree=${root#"$(pwd -P)/"} # the work tree
# Of git's own files, which change all the time, only those that can make it do something.
find . \( -path '*/.git/*' ! -path '*/.git/config*' ! -path '*/.git/hooks*' ! -path '*/.git/info*' -prune \) -o \
  \( ! -type d ! -path '*/.git/hooks/*.sample' \) -printf '%C@ %i/%P\0' 2>/dev/null | sort -z >"$store/$list"
cd -P -- "$store" || exit 1
[ "$list" = files.after ] || exit 0
[ -f files.before ] || { echo "no list from before the agent"; exit 1; }
mapfile -t names <<<"$changed"
{
  GIT_DIR=$store GIT_INDEX_FILE=$store/base.index git ls-files -z
  printf '%s\0' "${names[@]}"
} | sed -z "s|^|$tree/|" | sort -zu >files.known
comm -z -3 files.before files.after | cut -z -d / -f 2- | sort -zu | comm -z -23 - files.known >files.names
if [ -s files.names ]; then
  comm -z -13 files.before files.after | cut -z -d / -f 2- | sort -z >files.new
  {
    comm -z -12 files.names files.new
    comm -z -23 files.names files.new | sed -z 's/$/ (removed)/'
  } | sort -z >files.all
  {
    grep -az "^$tree/" files.all | sed -z "s|^$tree/||"
    grep -azv "^$tree/" files.all | sed -z 's|^|~/|'
  } >files.names
fi
print_names surroundings files.names "$most"
