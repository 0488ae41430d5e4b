# shellcheck shell=bash
# As the user: lays out the work tree from the base, then makes the index what it was on the host, so that `git status`
# prints the same. `root` is empty, or a submodule's directory.
: "${home?}" "${name:?}" "${archive?}" "${packs?}" "${contents?}" "${base:?}" "${tree:?}" "${staged:?}" "${root?}"
: "${age_files:?}" "${content?}"
set -eu
umask 022
command -v git >/dev/null 2>&1 || exit 90
command -v tar >/dev/null 2>&1 || exit 91
if [ -z "$root" ]; then
  root=$home/$name
  number=1
  while [ -e "$root" ] || [ -L "$root" ]; do
    number=$((number + 1))
    root=$home/$name-$number
  done
fi
mkdir -p "$root/.git"
cd -P "$root"
root=$PWD
if [ -n "$content" ]; then # of an archive so small that it came along, in base64
  printf %s "$content" | base64 -d | tar -xof - -C .git
else
  tar -xof "$archive" -C .git
  rm -f "$archive"
fi
printf %s "$packs" | while read -r pack place; do
  mv "$place" ".git/objects/pack/$pack"
  chmod 444 ".git/objects/pack/$pack"
done
workers=$((2 * $(nproc 2>/dev/null || echo 2))) # half of them wait for the disk
git -c checkout.workers=$workers -c core.protectNTFS=false -c core.protectHFS=false read-tree -u --reset "$base"
# Of these files git has pointers only. It is told that they are as they should be; `collect` knows their hashes.
trust_contents() {
  [ ! -s .git/flue-ci/contents ] ||
    while IFS= read -r -d '' _ && IFS= read -r -d '' path; do printf '%s\0' "$path"; done <.git/flue-ci/contents |
    git update-index --assume-unchanged -z --stdin
}
if [ -n "$contents" ]; then
  tar -xof "$contents"
  rm -f "$contents"
fi
trust_contents
# So that an edit in this very second is seen by make and by what keeps bytecode, which compare times in whole seconds.
# Without Perl, or with an index that it does not know, git reads all files again. Of very many that would take long;
# there the second is waited for.
printf -v now '%(%s)T' -1
if ! perl -e "$age_files" -- "$now" "$((${#base} / 2))" 2>/dev/null; then
  if [ "$(git ls-files | head -n 5001 | wc -l)" -le 5000 ]; then
    find . -path ./.git -prune -o \( -type f -o -type l \) -exec touch -h -d '1 hour ago' -- {} + 2>/dev/null || :
    git update-index -q --refresh || :
  else
    sleep 1
  fi
fi
cp -p .git/index .git/flue-ci/base.index
if [ "$staged" != "$tree" ]; then
  git read-tree --reset "$staged"
  trust_contents
fi
if [ -s .git/flue-ci/intent-to-add ]; then
  GIT_LITERAL_PATHSPECS=1 xargs -0 git add -f -N -- <.git/flue-ci/intent-to-add # an old git reads no file of paths
fi
rm -f .git/info/attributes
printf 'flue-ci-root=%s\n' "$root"
