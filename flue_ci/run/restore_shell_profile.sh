# shellcheck shell=sh
# As root, after the agent: puts the start-up files back, and removes those that did not exist.
: "${home:?}" "${files:?}"
store=$HOME/.flue-isolation
{ cd -- "$home" && [ -d "$store" ]; } || exit 1
for file in $files; do
  rm -rf -- "$file"
  if [ -f "$store/$file" ]; then cp -pP -- "$store/$file" "$file" || exit 1; fi
done
