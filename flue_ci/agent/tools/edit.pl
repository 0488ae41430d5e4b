# Replaces a piece of the file $ARGV[0] into the file $ARGV[1]: one that occurs once, or each where $ARGV[2] says so. Does
# what `replace_text` of files.py does; standard input has `old` and `new`, in hex, a line each. Modules are not used: the
# smallest Perl has none. Exit code 3: it is not there as often as it has to be, or the encoding needs a closer look.
use strict;
my ($source, $target, $everywhere) = @ARGV;
chomp(my @lines = <STDIN>);
my ($old, $new) = map { pack 'H*', $_ } @lines;
open(my $in, '<:raw', $source) or exit 1;
my $data = do { local $/; <$in> };
defined $data or exit 3;
exit 3 if $data =~ /\A(?:\xff\xfe|\xfe\xff)|\0/;
if ($new =~ /[^\x00-\x7f]/) { my $copy = $data; utf8::decode($copy) or exit 3 }
if ((my $ends = () = $data =~ /\r\n/g) > 0) {
  if ($ends == ($data =~ tr/\n//) || index($data, $old) < 0) { s/\r\n/\n/g, s/\n/\r\n/g for $old, $new }
}
my $count = () = $data =~ /\Q$old\E/g;
$count == 1 || ($count > 1 && $everywhere) or exit 3;
my $same = 0;
$same++ while $same < length($old) && $same < length($new) && substr($old, $same, 1) eq substr($new, $same, 1);
my $line = 1 + (substr($data, 0, index($data, $old) + $same) =~ tr/\n//);
$data =~ s/\Q$old\E/$new/g;
open(my $out, '>:raw', $target) or exit 1;
print $out $data;
close $out or exit 1;
print "$count $line\n";
