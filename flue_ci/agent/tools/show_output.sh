# shellcheck shell=bash
# Prints the file "$file": the whole of it when it has at most "$limit" bytes, else its first "$head" bytes and its end.
: "${file:?}" "${limit:?}" "${head:?}"
size=$(wc -c <"$file") || size=0
if [ "$size" -le "$limit" ]; then
  cat "$file" 2>/dev/null
else
  head -c "$head" "$file"
  printf '\n[… %s bytes left out; the whole output is in %s …]\n' $((size - limit)) "$file"
  tail -c $((limit - head)) "$file"
fi
