# Lists the files below a path, or searches them, as ripgrep does with --hidden: no links, nothing in .git, nothing that
# git ignores (of a place that is ignored as a whole, or in no repository: everything). Modules are not used: the smallest
# Perl has none.
#
# Arguments: "list" or "grep"; the path; the top directory, which printed paths leave out; a regular expression for
# paths below the path or the top, after "!" for those that are left out, or nothing; the pattern; "i" to ignore case;
# the most lines, the most bytes of all, and the most characters of one line. Exit code: 0, 1 for none, 10 when there are
# more, 3 when there is no such path, 4 for a pattern that cannot be read (with Perl's words), 5 when it cannot be opened.
use strict;
my ($task, $root, $top, $glob, $pattern, $case, $lines, $bytes, $width) = @ARGV;
-e $root or exit 3;
-r $root or exit 5;
my ($expression, $wanted, $search) = (undef, 1, undef);
if ($glob =~ s/^!//) { $wanted = 0 }
$expression = qr/\A(?:$glob)\z/s if $glob ne '';
utf8::decode($pattern);
my $source = $case ? "(?i)$pattern" : $pattern;
if ($task eq 'grep') {
  $search = eval { no warnings; qr/$source/ };
  if (!defined $search) { my $reason = $@; $reason =~ s/ at -e line \d+\.?\n?\z//; print $reason; exit 4 }
}
# Lines are tried one by one only in files that the pattern fits as a whole. (Not with what sees past the end of a line.)
my $whole = $search && $pattern !~ /\\[AzZGKXRQE]|\(\?[^:=]|\(\*|[+*?}]\+|\\N|\$\)/ ? eval { no warnings; qr/$source/m } : undef;

sub git {
  my ($directory, @command) = @_;
  open(my $pipe, '-|', 'sh', '-c', 'exec git -C "$0" -c core.fsmonitor=false -c core.quotePath=false "$@" 2>/dev/null', $directory, @command) or return;
  local $/ = "\0";
  my @names = <$pipe>;
  close $pipe or return;
  chomp @names;
  return \@names;
}

# The files below a directory. A repository inside has rules of its own.
sub files {
  my ($directory) = @_;
  return walk($directory) if "$directory/" =~ m{/\.git/} || git($directory, 'check-ignore', '-q', '.');
  my $names = git($directory, 'ls-files', '-z', '-co', '--exclude-standard', '--deduplicate') or return walk($directory);
  my %ignored = map { $_ => 1 } @{ git($directory, 'ls-files', '-z', '-ci', '--exclude-standard') || [] };
  my @files;
  for my $name (grep { !$ignored{$_} } @$names) {
    my $file = "$directory/$name";
    $file =~ s{^//}{/};
    next if -l $file;
    if ($file =~ s{/$}{} || -d _) { push @files, -l $file ? () : files($file) }
    elsif (-f _) { push @files, $file }
  }
  return @files;
}

sub walk {
  my ($directory) = @_;
  opendir(my $handle, $directory) or return;
  my @files;
  for my $name (grep { !/^\.(?:\.|git)?$/ } readdir $handle) {
    my $file = $directory eq '/' ? "/$name" : "$directory/$name";
    next if -l $file || $file =~ m{^/(?:proc|sys|dev)$};
    if (-d _) { push @files, -e "$file/.git" ? files($file) : walk($file) }
    elsif (-f _) { push @files, $file }
  }
  return @files;
}

sub below {
  my ($file, $directory) = @_;
  return index($file, "$directory/") == 0 ? substr($file, length($directory) + 1) : undef;
}

sub fits {
  my ($file) = @_;
  return 1 if !defined $expression;
  for my $name (grep { defined } below($file, $root eq '/' ? '' : $root), below($file, $top), $file eq $root ? $file =~ m{([^/]*)$} : ()) {
    return $wanted if $name =~ $expression;
    if (!$wanted) { while ($name =~ s{/[^/]*$}{}) { return 0 if $name =~ $expression || "$name/" =~ $expression } }
  }
  return !$wanted;
}

sub shorten {
  my ($line, $start) = @_;
  return $line if length($line) <= $width;
  my $from = $start > $width / 2 ? $start - int($width / 4) : 0;
  my $rest = length($line) - $from > $width ? ' [… line cut]' : '';
  utf8::decode($rest);
  my $before = $from ? '[…] ' : '';
  utf8::decode($before);
  return $before . substr($line, $from, $width) . $rest;
}

my ($printed, $size) = (0, 0);
sub show {
  my ($text) = @_;
  utf8::encode($text) if utf8::is_utf8($text);
  if ($printed == $lines || ($printed && $size + length($text) > $bytes)) { exit 10 }
  print "$text\n";
  ($printed, $size) = ($printed + 1, $size + length($text) + 1);
}

sub search {
  my ($file, $name) = @_;
  open(my $handle, '<', $file) or return;
  local $/;
  my $text = <$handle>;
  close $handle;
  return if index(substr($text, 0, 65536), "\0") >= 0;
  $text =~ s/\A\xef\xbb\xbf//;
  utf8::decode($text);
  $text =~ s/\r\n/\n/g if index($text, "\r") >= 0;
  no warnings;
  return if $whole && $text !~ $whole;
  my ($number, $position, $end) = (0, 0, 0);
  while ($position < length $text) {
    $end = index($text, "\n", $position);
    $end = length $text if $end < 0;
    my $line = substr($text, $position, $end - $position);
    ($number, $position) = ($number + 1, $end + 1);
    next if $line !~ $search;
    my $short = shorten($line, $-[0]);
    show((utf8::is_utf8($short) ? $name->[1] : $name->[0]) . ":$number:$short");
  }
}

for my $file (sort grep { fits($_) } -d $root ? files($root) : $root) {
  my $name = below($file, $top);
  $name = $file if !defined $name;
  $name =~ s/([\x00-\x1f\x7f])/sprintf '\\%03o', ord $1/ge;
  if (!$search) { show($name); next }
  my $decoded = $name;
  utf8::decode($decoded);
  search($file, [$name, $decoded]);
}
exit !$printed;
