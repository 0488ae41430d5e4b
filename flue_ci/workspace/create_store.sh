# shellcheck shell=bash
# As root: a repository out of the agent's reach that knows the base. Hard links cost nothing, and with root as their
# owner the agent cannot write through them. Across file systems nothing is copied: `collect` sends the few objects that
# it needs.
: "${root:?}" "${name:?}" "${base:?}" "${attributes:?}" "${config:?}"
set -eu
umask 077
store=$HOME/$name
rm -rf "$store"
mkdir -p "$store/refs" "$store/info"
objects=linked
cp -al "$root/.git/objects" "$store/objects" 2>/dev/null || {
  rm -rf "$store/objects"
  mkdir -p "$store/objects"
  objects=empty
}
cp "$root/.git/info/exclude" "$store/info/exclude"
mv "$root/.git/flue-ci/index" "$store/base.index"
mv "$root/.git/flue-ci/contents" "$store/contents"
rm -rf "$root/.git/flue-ci"
printf '%s' "$attributes" >"$store/info/attributes"
printf '%s' "$config" >"$store/config"
printf '%s\n' "$base" >"$store/HEAD"
if [ "$(id -u)" = 0 ]; then chown -R 0:0 "$store" 2>/dev/null || :; fi
printf 'flue-ci-store=%s:%s\n' "$objects" "$store"
