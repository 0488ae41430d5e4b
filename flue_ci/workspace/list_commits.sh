# shellcheck shell=bash
# After own_repository.sh: writes the commits between the base and HEAD, each as a patch against the base and a message.
# Only the name of HEAD comes from the agent's repository.
: "${folder?}" "${agent:?}" "${base:?}" "${most:?}"
finish() {
  place=$(printf '%s' "$folder" | base64)
  printf '\nflue-ci-commits=%s %s %s\n' "$1" "$2" "${place//$'\n'/}"
  exit 0
}
[ -n "$folder" ] || finish 0 none
head=$(GIT_DIR=$agent git rev-parse -q --verify 'HEAD^{commit}' 2>/dev/null | head -c 100)
[ -n "$head" ] || finish 0 broken
[ "$head" != "$base" ] || finish 0 none
(ulimit -t 20; git rev-list --reverse --topo-order --parents -n "$((most + 1))" "$base..$head" 2>/dev/null) >"$folder/list" ||
  finish 0 broken
[ "$(wc -l <"$folder/list")" -le "$most" ] || finish 0 many
count=0 before=$base
while read -r commit parent more; do
  if [ "$parent" != "$before" ] || [ -n "$more" ]; then finish 0 merge; fi
  write_patch "$commit^{tree}" "$count"
  [ "${state:?}" = whole ] || finish 0 "$state"
  git cat-file commit "$commit" 2>/dev/null | sed '1,/^$/d' | head -c 20000 >"$folder/$count.message"
  count=$((count + 1)) before=$commit
done <"$folder/list"
[ "$before" = "$head" ] || finish 0 merge
finish "$count" whole
