# shellcheck shell=bash
# As root: a repository out of the agent's reach that knows the base. Hard links cost nothing, and with root as their
# owner the agent cannot write through them. Across file systems nothing is copied: `collect` sends the few objects that
# it needs.
: "${root:?}" "${name:?}" "${base:?}" "${attributes:?}" "${config:?}"
set -eu
umask 077
# Without these programs and options changes would be lost in silence. One line tries them all, the rest says which.
sample() { printf 'a\0b\0'; }
try() { [ "$(sample | "${@:3}" 2>/dev/null | tr '\0' ,)" = "$2" ] || printf '%s, ' "$1"; }
exec 3< <({ find . -maxdepth 0 -fprintf /dev/stdout 'a\0b\0' | sort -zu | comm -z -23 - /dev/null | grep -az . |
  cut -z -c 1- | head -z -n 9 | sed -z 's/^/./' | xargs -0 printf %s | sha256sum | base64; } 2>/dev/null) # in parallel
store=$HOME/$name
rm -rf "$store"
mkdir -p "$store/refs" "$store/info"
objects=linked
cp -al "$root/.git/objects" "$store/objects" 2>/dev/null || {
  rm -rf "$store/objects"
  mkdir -p "$store/objects"
  objects=empty
}
read -r digest <&3 || digest=
[ "$digest" = MWRmMDViOWYzODVjZjFiZTVhMGUwZTMwNTZhNzMyN2Q1NTgxN2Y5NDVlNDhkNWFjZTU2OGNkZDhi ] || {
  lacks=$(
    try 'sort -z' a,b, sort -z
    try 'comm -z' a,b, comm -z -23 - /dev/null
    try 'grep -z' a,b, grep -az .
    try 'cut -z' a,b, cut -z -c 1-
    try 'head -z' a,b, head -z -n 9
    try 'sed -z' .a,.b, sed -z 's/^/./'
    try 'xargs -0' ab xargs -0 printf %s
    try 'find -fprintf' x find . -maxdepth 0 -fprintf /dev/stdout x
    try base64 YQBiAA== base64
  )
  printf '%s\n' "${lacks:-sha256sum, }" | sed 's/, $//'
  exit 92
}
cp "$root/.git/info/exclude" "$store/info/exclude"
mv "$root/.git/flue-ci/base.index" "$root/.git/flue-ci/contents" "$store"
rm -rf "$root/.git/flue-ci"
printf '%s' "$attributes" >"$store/info/attributes"
printf '%s' "$config" >"$store/config"
printf '%s\n' "$base" >"$store/HEAD"
if [ "$EUID" = 0 ]; then chown -R 0:0 "$store" 2>/dev/null || :; fi
printf 'flue-ci-store=%s:%s\n' "$objects" "$store"
