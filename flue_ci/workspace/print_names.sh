# shellcheck shell=bash
# Lists of names, each ended by a NUL: how many the list $1 has (-: standard input).
count_names() {
  grep -azc '' "$1"
}
# The number of names in the list $2 and, for people, the first $3 of them; `printed_names` reads it.
print_names() {
  local count=0 names=
  if [ -s "$2" ]; then
    count=$(count_names "$2")
    names=$(head -z -n "$3" "$2" | cut -z -b -500 | base64)
  fi
  printf '\nflue-ci-%s=%s %s\n' "$1" "$count" "${names//$'\n'/}"
}
