# shellcheck shell=bash
# Prints the file "$file": the whole of it when it has at most "$limit" bytes, else its first "$head" bytes and its end,
# after states of a line that were overwritten are left out and equal lines are counted.
: "${file:?}" "${limit:?}" "${head:?}"
size=$(wc -c <"$file") || size=0
shown=$file
if [ "$size" -gt "$limit" ] && [ "$size" -le 100000000 ]; then
  if LC_ALL=C awk '
    function finish() {
      if (count > 3) printf "%s\n[the line above %d more times]\n", line, count - 1
      else while (count-- > 0) print line
    }
    {
      sub(/\r+$/, ""); sub(/.*\r/, "")
      if (NR > 1 && $0 "" == line "") count++
      else { finish(); line = $0; count = 1 }
    }
    END { finish() }' "$file" >"$file.short" 2>/dev/null; then
    shown=$file.short
    size=$(wc -c <"$shown")
  fi
fi
if [ "$size" -le "$limit" ]; then
  cat "$shown" 2>/dev/null
else
  head -c "$head" "$shown"
  printf '\n[… %s bytes left out; the whole output is in %s …]\n' $((size - limit)) "$file"
  tail -c $((limit - head)) "$shown"
fi
[ "$shown" = "$file" ] || rm -f "$shown"
