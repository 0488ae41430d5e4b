# shellcheck shell=bash
# Runs the Perl program "$program" (search.pl): its options are assigned in front. Exit code 127: there is no Perl.
: "${program:?}" "${task:?}" "${path:?}" "${top:?}" "${glob?}" "${pattern?}" "${case?}" "${lines:?}" "${bytes:?}" "${width:?}"
command -v perl >/dev/null || exit 127
LC_ALL=C exec perl -e "$program" -- "$task" "$path" "$top" "$glob" "$pattern" "$case" "$lines" "$bytes" "$width" 2>&1
