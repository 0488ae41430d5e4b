# shellcheck shell=sh
# As root, before the agent: copies the start-up files of the user's shell out of its reach.
: "${home:?}" "${files:?}"
store=$HOME/.flue-isolation
rm -rf "$store"
{ mkdir -p "$store" && chmod 700 "$store" && cd -- "$home"; } || exit 1
for file in $files; do
  if [ -f "$file" ]; then cp -pP -- "$file" "$store/$file" || exit 1; fi
done
