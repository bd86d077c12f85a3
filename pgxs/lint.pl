#!/usr/bin/perl
#
# Rules of the source tree that a compiler does not check.
#
#	pgxs/lint.pl [--tree DIR] [RULE...]
#
# Each rule reads the tree (and, for the rules about calls, the objects that
# were built in it) and returns its findings as "file:line: what is wrong".
# The rules about a live server's catalogs are in lint_catalog.sql.  A rule
# without a finding passes; "warning" findings are printed and do not fail.
# The last line is "N passed, N failed, N skipped".  Each rule has a violation
# in lint_selftest.sh that it must see.
use strict;
use warnings;

use Cwd ();
use File::Find ();
use File::Temp ();
use FindBin;
use Getopt::Long;
use JSON::PP ();

# Lowest first: a file includes and calls only its own layer and lower ones.
my @layers = qw(base crypto events kms keys access audit types columns sqlrun lifecycle report);
my %rank = map { $layers[$_] => $_ } 0 .. $#layers;
my $wiring = scalar @layers;	# src/dataprotect.c sees everything

# Circles that could not be opened yet: the files, sorted, and why.
my %known_circles = ();

my $max_file_lines = 600;
my $max_function_lines = 70;

my $tree = '.';
my $self = Cwd::abs_path($FindBin::Bin);
GetOptions('tree=s' => \$tree) or die "usage: lint.pl [--tree DIR] [RULE...]\n";
chdir $tree or die "lint.pl: could not enter \"$tree\": $!\n";

my @rules = (
	[ 'layer-include', \&check_layer_include, 'a file includes only from its own layer and lower ones' ],
	[ 'layer-call', \&check_layer_call, 'no object calls into a higher layer' ],
	[ 'circles', \&check_circles, 'no files of one folder call each other in a circle' ],
	[ 'needless-export', \&check_needless_export, 'what no other file uses is static' ],
	[ 'same-name', \&check_same_name, 'a name under src/ stands for one room' ],
	[ 'object-lists', \&check_object_lists, 'the Makefile names every source and every piece of install SQL once' ],
	[ 'xact-events', \&check_xact_events, 'a transaction callback says what it does at each event, PREPARE included' ],
	[ 'foreign-library', \&check_foreign_library, 'OpenSSL only in crypto, libcurl only in kms and the sinks' ],
	[ 'one-door', \&check_one_door, 'each hook of PostgreSQL is installed in one file; those of statements only in base/statement.c' ],
	[ 'subscribers', \&check_subscribers, 'src/README.md says what each subscriber hears of' ],
	[ 'banned-call', \&check_banned_call, 'no unsafe, shelling-out or predictable function' ],
	[ 'fuzzed', \&check_fuzzed, 'what takes text or bytes apart is fuzzed, or test/fuzz/README.md says what else feeds it' ],
	[ 'secret-compare', \&check_secret_compare, 'secrets are compared in constant time' ],
	[ 'version-test', \&check_version_test, 'only base/compat.h tests the version of PostgreSQL' ],
	[ 'moved-macros', \&check_moved_macros, 'what moved between versions comes by base/compat.h' ],
	[ 'guc-order', \&check_guc_order, 'settings are defined in base/guc.c, sorted, with the prefix reserved' ],
	[ 'guc-documented', \&check_guc_documented, 'every setting is explained in README.md or doc/' ],
	[ 'message-style', \&check_message_style, 'messages follow PostgreSQL\'s style, with an SQLSTATE' ],
	[ 'install-sql', \&check_install_sql, 'install SQL is plain CREATE, schema-qualified, with errors by one helper' ],
	[ 'versions-agree', \&check_versions_agree, 'control file, Makefile, META.json and CHANGELOG.md name one version' ],
	[ 'upgrade-path', \&check_upgrade_path, 'every release is kept, unchanged, and can be updated to this version' ],
	[ 'regress-pairs', \&check_regress_pairs, 'every sql/ file has its expected/ file and the reverse' ],
	[ 'leftovers', \&check_leftovers, 'no leftover marks, stray white space or foreign paths' ],
	[ 'size', \&check_size, 'files and functions that have grown long (warnings)' ]);

my %wanted = map { $_ => 1 } @ARGV;
for my $name (keys %wanted)
{
	die "lint.pl: no rule \"$name\"\n" if !grep { $_->[0] eq $name } @rules;
}

my ($passed, $failed) = (0, 0);
for my $rule (@rules)
{
	my ($name, $check, $meaning) = @$rule;
	next if %wanted && !$wanted{$name};
	my @findings = $check->();
	my @bad = grep { !/: warning: / } @findings;
	printf "%-6s lint %s: %s\n", @bad ? 'FAILED' : 'ok', $name, $meaning;
	print "       $_\n" for @findings;
	@bad ? $failed++ : $passed++;
}
print "$passed passed, $failed failed, 0 skipped\n";
exit($failed ? 1 : 0);

#
# Reading the tree
#

# Files under the given folders whose name matches, sorted.
sub files
{
	my ($pattern, @dirs) = @_;
	my @found;
	File::Find::find(
		{
			no_chdir => 1,
			wanted => sub {
				push @found, $File::Find::name if -f $_ && $File::Find::name =~ $pattern;
			}
		},
		grep { -e } @dirs);
	@found = sort @found;
	return @found;
}

sub slurp
{
	my ($path) = @_;
	open(my $fh, '<', $path) or die "lint.pl: could not read \"$path\": $!\n";
	local $/;
	my $text = <$fh>;
	close $fh;
	return defined $text ? $text : '';
}

# C text with comments and, where asked for, the content of strings blanked
# out; offsets and line numbers stay as they were.
sub code
{
	my ($text, $keep_strings) = @_;
	my $blank = sub {
		my ($s) = @_;
		$s =~ s/[^\n]/ /g;
		return $s;
	};
	$text =~ s{
		(/\*.*?\*/ | //[^\n]*)
		| ("(?:[^"\\\n]|\\.)*") | ('(?:[^'\\\n]|\\.)*')
	}{ defined $1 ? $blank->($1)
		: $keep_strings ? (defined $2 ? $2 : $3)
		: defined $2 ? '"' . $blank->(substr($2, 1, -1)) . '"' : "'" . $blank->(substr($3, 1, -1)) . "'" }gsex;
	return $text;
}

sub line_of
{
	my ($text, $offset) = @_;
	return 1 + (substr($text, 0, $offset) =~ tr/\n//);
}

# Every place where the pattern occurs in the code of a C file.
sub occurrences
{
	my ($file, $pattern, $keep_strings) = @_;
	my $text = code(slurp($file), $keep_strings);
	my @found;
	while ($text =~ /$pattern/g)
	{
		push @found, [ line_of($text, $-[0]), defined $1 ? $1 : $& ];
	}
	return @found;
}

sub c_files
{
	return files(qr/\.[ch]$/, 'src');
}

# Rank of the layer a path under src/ belongs to, or undef.
sub layer_rank
{
	my ($path) = @_;
	return $wiring if $path =~ m{(?:^|/)src/dataprotect\.[co]$};
	return $rank{$1} if $path =~ m{(?:^|/)src/([a-z]+)/} && exists $rank{$1};
	return;
}

sub layer_name
{
	my ($number) = @_;
	return $number == $wiring ? 'dataprotect.c' : $layers[$number];
}

#
# Layers
#

sub check_layer_include
{
	my @findings;
	for my $file (c_files())
	{
		my $own = layer_rank($file);
		if (!defined $own)
		{
			push @findings, "$file:1: lies in no layer";
			next;
		}
		for my $use (occurrences($file, qr/^[ \t]*#[ \t]*include[ \t]*"([^"]+)"/m, 1))
		{
			my ($line, $header) = @$use;
			push @findings, "$file:$line: includes \"$header\" by a relative path" if $header =~ m{\.\./};
			next if $header !~ m{^([a-z]+)/} || !exists $rank{$1} || !-f "src/$header";
			push @findings, "$file:$line: layer " . layer_name($own) . " includes \"$header\" from a higher one"
			  if $rank{$1} > $own;
		}
	}
	return @findings;
}

# One list of [object, letter, symbol] of all objects, by nm.
my $symbols;

sub object_symbols
{
	return @$symbols if $symbols;
	$symbols = [];
	for my $object (files(qr/\.o$/, 'src'))
	{
		# what a source that is gone has left
		next if !-e $object =~ s/\.o$/.c/r;
		open(my $nm, '-|', 'nm', '-P', '-g', $object) or die "lint.pl: could not run nm: $!\n";
		while (my $line = <$nm>)
		{
			push @$symbols, [ $object, $2, $1 ] if $line =~ /^(\S+) ([A-Za-z])\b/;
		}
		close $nm or die "lint.pl: nm failed for $object\n";
	}
	return @$symbols;
}

# Objects must be there for every source, or the rules about calls would pass
# by not looking.
sub missing_objects
{
	my @findings;
	for my $source (files(qr/\.c$/, 'src'))
	{
		(my $object = $source) =~ s/\.c$/.o/;
		push @findings, "$source:1: has not been compiled (build first)" if !-f $object;
	}
	push @findings, 'src:1: there is no C source' if !files(qr/\.c$/, 'src');
	return @findings;
}

sub check_layer_call
{
	my @findings = missing_objects();
	my %defined_in;
	for my $symbol (object_symbols())
	{
		my ($object, $letter, $name) = @$symbol;
		$defined_in{$name} = layer_rank($object) if $letter ne 'U' && defined layer_rank($object);
	}
	for my $symbol (object_symbols())
	{
		my ($object, $letter, $name) = @$symbol;
		next if $letter ne 'U' || !exists $defined_in{$name} || !defined layer_rank($object);
		push @findings, "$object:1: layer " . layer_name(layer_rank($object)) . " uses $name of layer "
		  . layer_name($defined_in{$name})
		  if $defined_in{$name} > layer_rank($object);
	}
	return @findings;
}

# Strongly connected components of two nodes or more of a graph (node =>
# { successor => 1 }), each as a sorted list: Tarjan's algorithm.
sub components
{
	my ($graph) = @_;
	my (%index, %low, %on_stack, @stack, @found);
	my $next = 0;
	my $visit;
	$visit = sub {
		my ($node) = @_;
		$index{$node} = $low{$node} = $next++;
		push @stack, $node;
		$on_stack{$node} = 1;
		for my $other (sort keys %{ $graph->{$node} })
		{
			if (!exists $index{$other})
			{
				$visit->($other);
				$low{$node} = $low{$other} if $low{$other} < $low{$node};
			}
			elsif ($on_stack{$other} && $index{$other} < $low{$node})
			{
				$low{$node} = $index{$other};
			}
		}
		return if $low{$node} != $index{$node};
		my @component;
		do
		{
			push @component, pop @stack;
			$on_stack{ $component[-1] } = 0;
		} while ($component[-1] ne $node);
		push @found, [ sort @component ] if @component > 1;
	};
	for my $node (sort keys %$graph)
	{
		$visit->($node) if !exists $index{$node};
	}
	return @found;
}

sub check_circles
{
	my @findings = missing_objects();
	my (%defined_in, %uses, %graph, %seen);
	for my $symbol (object_symbols())
	{
		my ($object, $letter, $name) = @$symbol;
		$defined_in{$name} = $object if $letter ne 'U';
	}
	for my $symbol (object_symbols())
	{
		my ($object, $letter, $name) = @$symbol;
		my $home = $letter eq 'U' ? $defined_in{$name} : undef;
		next if !defined $home || $home eq $object;
		next if ($home =~ s{/[^/]*$}{}r) ne ($object =~ s{/[^/]*$}{}r);
		push @{ $uses{$object}{$home} }, $name;
		$graph{$object}{$home} = 1;
	}
	for my $circle (components(\%graph))
	{
		my %member = map { $_ => 1 } @$circle;
		my $names = join ' ', map { s/\.o$/.c/r } @$circle;
		$seen{$names} = 1;
		next if exists $known_circles{$names};
		push @findings, "$circle->[0]:1: is in a circle: $names";
		for my $from (@$circle)
		{
			push @findings, "$from:1: calls $_: @{ $uses{$from}{$_} }" for grep { $member{$_} } sort keys %{ $uses{$from} };
		}
	}
	push @findings, "pgxs/lint.pl:1: there is no circle of $_ any more" for grep { !$seen{$_} && !grep { !-f } split } sort keys %known_circles;
	return @findings;
}

# Whoever looks for a file by its name, or reads an error's location, finds one.
sub check_same_name
{
	my %folders;
	for my $file (files(qr/\.(?:[ch]|sql)$/, 'src'))
	{
		my ($folder, $name) = $file =~ m{^(.*)/([^/]+)\.\w+$};
		$folders{$name}{$folder} = $file;
	}
	my @findings;
	for my $name (sort keys %folders)
	{
		my ($first, @more) = map { $folders{$name}{$_} } sort keys %{ $folders{$name} };
		push @findings, map { "$_:1: bears the name of $first" } @more;
	}
	return @findings;
}

# What a list of the Makefile names, $(addprefix DIR,NAMES) expanded.
sub makefile_list
{
	my ($makefile, $name) = @_;
	my ($text) = $makefile =~ /^\Q$name\E\s*:?=\s*((?:[^\n]*\\\n)*[^\n]*)$/m;
	return if !defined $text;
	$text =~ s/\\\n/ /g;
	$text =~ s{\$\(addprefix\s+([^,\s]+),([^()]*)\)}{ join ' ', map { "$1$_" } split ' ', $2 }ge;
	return split ' ', $text;
}

sub check_object_lists
{
	my $makefile = slurp('Makefile');
	my @findings;
	for my $list ([ 'OBJS', qr/\.c$/, '.o' ], [ 'SQL_PARTS', qr/\.sql$/, '.sql' ])
	{
		my ($name, $pattern, $suffix) = @$list;
		my %times;
		$times{$_}++ for makefile_list($makefile, $name);
		for my $file (grep { !m{^src/upgrade/} } files($pattern, 'src'))
		{
			my $entry = $file =~ s/\.\w+$/$suffix/r;
			my $count = delete $times{$entry} || 0;
			push @findings, "$file:1: is not in $name of the Makefile" if $count == 0;
			push @findings, "$file:1: stands in $name of the Makefile $count times" if $count > 1;
		}
		push @findings, "Makefile:1: $name names $_, which has no source" for sort keys %times;
	}
	return @findings;
}

# The compiler misses no event of a switch without default (-Wswitch).
sub check_xact_events
{
	my @findings;
	for my $file (files(qr/\.c$/, 'src'))
	{
		my $text = code(slurp($file));
		while ($text =~ /\bRegister(?:Sub)?XactCallback\s*\(\s*(\w+)/g)
		{
			my ($callback, $line) = ($1, line_of($text, $-[0]));
			my ($body) = $text =~ /^\Q$callback\E\s*\([^{;]*\)\s*^\{(.*?)^\}/ms;
			if (!defined $body)
			{
				push @findings, "$file:$line: registers $callback of another file";
				next;
			}
			my ($event) = $text =~ /^\Q$callback\E\s*\(\s*(?:Sub)?XactEvent\s+(\w+)/m;
			push @findings, "$file:$line: $callback has no switch over its event"
			  if !defined $event || $body !~ /\bswitch\s*\(\s*\Q$event\E\s*\)/;
			push @findings, "$file:$line: $callback has a default for events that it does not name" if $body =~ /\bdefault\s*:/;
		}
	}
	return @findings;
}

sub check_foreign_library
{
	my @findings = missing_objects();
	my @libraries = (
		[ 'OpenSSL', qr{<openssl/}, qr/^(?:EVP|RAND|HMAC|SHA\d+|OPENSSL|CRYPTO|ERR|BN|RSA|EC|X509|BIO|PEM|SSL)_/, qr{^src/crypto/} ],
		[ 'libcurl', qr{<curl/}, qr/^curl_/, qr{^src/kms/|^src/audit/sink_} ],
		[ 'PKCS#11', qr{<p11-kit/|"pkcs11}, qr/^C_[A-Z]/, qr{^src/kms/} ]);
	for my $library (@libraries)
	{
		my ($name, $header, $symbol, $allowed) = @$library;
		for my $file (grep { $_ !~ $allowed } c_files())
		{
			push @findings, "$file:$_->[0]: includes a header of $name"
			  for occurrences($file, qr/^[ \t]*#[ \t]*include[ \t]*$header/m, 1);
		}
		for my $entry (object_symbols())
		{
			my ($object, $letter, $used) = @$entry;
			push @findings, "$object:1: uses $used of $name"
			  if $letter eq 'U' && $used =~ $symbol && $object !~ $allowed;
		}
	}
	return @findings;
}

# What no other file uses is static.  The server calls C functions of SQL and, by a
# name in a string, workers; tests of one file call what they test.
sub check_needless_export
{
	my @findings = missing_objects();
	my (%used, %from_sql);
	for my $entry (object_symbols())
	{
		my ($object, $letter, $symbol) = @$entry;
		$used{$symbol} = 1 if $letter eq 'U';
		$from_sql{$1} = 1 if $symbol =~ /^pg_finfo_(\w+)/;
	}
	my $tests = join '', map { slurp($_) } files(qr/\.[ch]$/, 'test');
	my $names = join '', map { slurp($_) } c_files();
	for my $entry (object_symbols())
	{
		my ($object, $letter, $symbol) = @$entry;
		push @findings, "$object:1: $symbol is used by no other file: make it static"
		  if $letter =~ /^[TDB]$/ && $symbol =~ /^dp_/ && !$used{$symbol} && !$from_sql{$symbol} && $tests !~ /\b$symbol\b/ && $names !~ /"$symbol"/;
	}
	return @findings;
}

# Hooks that may be installed at all, and where.  A second chain, or a second
# stack of frames, would begin with one of them.
sub check_one_door
{
	my %home = (
		(map { $_ . '_hook' => 'src/base/statement.c' }
		  qw(post_parse_analyze planner get_relation_info ExecutorStart ExecutorRun ExecutorFinish
		  ExecutorEnd ProcessUtility object_access fmgr needs_fmgr ClientAuthentication)),
		(map { $_ . '_hook' => 'src/base/shmem.c' } qw(shmem_request shmem_startup)),
		'ExecutorCheckPerms_hook' => 'src/base/statement.c',
		'assign_hook' => 'src/audit/activity.c',
		'emit_log_hook' => 'src/audit/redact.c',
		'set_rel_pathlist_hook' => 'src/audit/record_plan.c');
	my @findings;
	for my $file (c_files())
	{
		for my $use (occurrences($file, qr/(?<![\w.])([A-Za-z]\w*_hook)\s*=(?!=)/))
		{
			my ($line, $hook) = @$use;
			next if $hook =~ /^(?:prev|previous)_/;
			push @findings, "$file:$line: installs $hook" . ($home{$hook} ? ", which is for $home{$hook}" : '')
			  if !$home{$hook} || $home{$hook} ne $file;
		}
	}
	return @findings;
}

# src/README.md says who hears of what: one line a subscriber, as it is registered.
sub check_subscribers
{
	my (%says, @findings);
	my $map = -e 'src/README.md' ? slurp('src/README.md') : '';
	while ($map =~ /^\| `([a-z]+\/[a-z_]+\.c)` \| ((?:`[a-z_]+`(?:, )?)+) \|/mg)
	{
		my ($file, $members) = ("src/$1", $2);
		$says{$file} = join ', ', sort $members =~ /`([a-z_]+)`/g;
	}
	for my $file (c_files())
	{
		next if code(slurp($file)) !~ /static const DpSubscriber \w+ = \{(.*?)\};/s;
		my $has = join ', ', sort grep { $_ ne 'name' } $1 =~ /\.([a-z_]+)\s*=/g;
		my $said = delete $says{$file} // 'nothing';
		push @findings, "$file:1: subscribes to $has, src/README.md says $said" if $has ne $said;
	}
	push @findings, "src/README.md:1: has $_, which does not subscribe" for sort keys %says;
	return @findings;
}

#
# C
#

# What takes text or bytes apart that may come from outside.
sub check_fuzzed
{
	my $parts = qr/(?<![\w.>])(sscanf|strto(?:l|ll|ul|ull|d|f|i64|u64)|strsep|str(?:c?spn|pbrk)|memchr|pg_parse_json|uncompress|d2i_\w+|pg_b64_decode|pg_hex_decode|strptime|raw_parser)\s*\(/;
	my $targets = -e 'test/fuzz/run.sh' ? slurp('test/fuzz/run.sh') : '';
	my %elsewhere = -e 'test/fuzz/README.md' ? map { ("src/$_" => 1) } slurp('test/fuzz/README.md') =~ /^\| `(\w+\/\w+\.c)` \|/mg : ();
	my @findings;
	for my $file (grep { /\.c$/ } c_files())
	{
		my ($use) = occurrences($file, $parts);
		my ($folder, $name) = $file =~ m{^src/(?:(\w+)/)?(\w+\.c)$};
		next if !$use;
		my $told = delete $elsewhere{$file};
		my $fuzzed = $folder && $targets =~ m{^target .*(?:"\$src/$folder/$name"|"\$src"/$folder/\*\.c)}m;
		push @findings, "$file:$use->[0]: $use->[1]() in no target of test/fuzz/run.sh, and not in the list of its README.md" if !$fuzzed && !$told;
		push @findings, "$file:$use->[0]: is fuzzed: test/fuzz/README.md says that it is not" if $fuzzed && $told;
	}
	push @findings, map { "test/fuzz/README.md:1: \"$_\" takes nothing apart" } sort keys %elsewhere;
	return @findings;
}

sub check_banned_call
{
	my %banned = (
		(map { $_ => 'has no bound' } qw(strcpy strcat sprintf vsprintf gets stpcpy strtok alloca)),
		(map { $_ => 'runs a shell' } qw(system popen OpenPipeStream)),
		(map { $_ => 'is predictable' } qw(rand srand random srandom drand48 pg_prng_uint64 pg_prng_double)),
		(map { $_ => 'races' } qw(tmpnam tempnam mktemp)),
		(map { $_ => 'is not safe in a server process' } qw(setenv putenv fork)));
	my $names = join '|', sort keys %banned;
	my @findings;
	for my $file (c_files())
	{
		for my $use (occurrences($file, qr/(?<![\w.>])($names)\s*\(/))
		{
			# the one place whose child runs nothing of the server's
			next if $use->[1] eq 'fork' && $file eq 'src/kms/child_call.c';
			push @findings, "$file:$use->[0]: $use->[1]() $banned{$use->[1]}";
		}
		for my $use ($file eq 'src/base/catalog_change.c' ? () : occurrences($file, qr/(?<![\w.>])(CacheRegister\w+)\s*\(/))
		{
			push @findings, "$file:$use->[0]: $use->[1]() takes one of ten places that all libraries share: base/catalog_change.h";
		}
		# where a query on the table is planned by whoever asks, the planner has done it already
		next if $file =~ m{^src/(?:columns/(?:folded_index|hidden_index)|types/min_max)\.c$};
		for my $use (occurrences($file, qr/(?<![\w.>])(RelationGetIndex(?:Expressions|Predicate))\s*\(/))
		{
			push @findings, "$file:$use->[0]: $use->[1]() runs code of the table's owner";
		}
	}
	return @findings;
}

sub check_secret_compare
{
	my @findings;
	for my $file (c_files())
	{
		for my $use (occurrences($file, qr/\b((?:memcmp|strcmp|strncmp)\s*\([^;]*?\))/))
		{
			my ($line, $call) = @$use;
			push @findings, "$file:$line: $call may leak by its duration: compare tags, MACs and secrets in constant time"
			  if $call =~ /\b\w*(?:tag|mac|secret|digest|signature|hmac)(?:\b|_)/i && $call !~ /CMDTAG|strategy/i;
		}
	}
	return @findings;
}

sub check_version_test
{
	my @findings;
	for my $file (grep { $_ ne 'src/base/compat.h' } c_files())
	{
		push @findings, "$file:$_->[0]: tests $_->[1]" for occurrences($file, qr/\b(PG_VERSION_NUM|PG_MAJORVERSION\w*)\b/);
	}
	return @findings;
}

# Files of ours that a file includes, itself included, all the way down.
sub included_files
{
	my ($file, $seen) = @_;
	return if $seen->{$file}++;
	for my $use (occurrences($file, qr/^[ \t]*#[ \t]*include[ \t]*"([^"]+)"/m, 1))
	{
		included_files("src/$use->[1]", $seen) if -f "src/$use->[1]";
	}
	return;
}

# The macros of varlena values were part of postgres.h up to 15, where a
# missing include goes unnoticed.
sub check_moved_macros
{
	my @findings;
	for my $file (files(qr/\.c$/, 'src'))
	{
		my ($use) = occurrences($file, qr/\b((?:SET_)?VAR(?:SIZE|DATA|ATT|TAG)(?:_\w+)?)\s*\(/);
		next if !$use;
		my %seen;
		included_files($file, \%seen);
		push @findings, "$file:$use->[0]: uses $use->[1]() and does not include base/compat.h"
		  if !$seen{'src/base/compat.h'};
	}
	return @findings;
}

sub guc_names
{
	my ($file) = @_;
	return map { $_->[1] } occurrences($file, qr/DefineCustom\w+Variable\s*\(\s*"([^"]*)"/, 1);
}

sub check_guc_order
{
	my $home = 'src/base/guc.c';
	return ("$home:1: is not there") if !-f $home;
	my @findings;
	my @names = guc_names($home);
	push @findings, "$home:1: defines no setting" if !@names;
	for my $i (1 .. $#names)
	{
		push @findings, "$home:1: \"$names[$i]\" stands after \"$names[$i - 1]\"" if $names[$i] le $names[$i - 1];
	}
	push @findings, map { "$home:1: \"$_\" is not called dataprotect.area_noun" } grep { !/^dataprotect\.[a-z][a-z0-9_]*$/ } @names;
	push @findings, "$home:1: does not reserve the prefix" if code(slurp($home), 1) !~ /MarkGUCPrefixReserved\s*\(\s*"dataprotect"/;
	for my $file (grep { $_ ne $home } c_files())
	{
		push @findings, "$file:$_->[0]: defines a setting" for occurrences($file, qr/\bDefineCustom\w+Variable\s*\(/);
	}
	return @findings;
}

sub check_guc_documented
{
	return ('README.md:1: is not there') if !-f 'README.md';
	my $readme = join '', map { slurp($_) } 'README.md', files(qr/\.md$/, 'doc');
	my @names = -f 'src/base/guc.c' ? guc_names('src/base/guc.c') : ();
	return map { "README.md:1: does not name the setting \"$_\"" }
	  grep { $readme !~ /\Q$_\E\b/ } @names;
}

# The argument list of a call that begins at an offset, by counting brackets.
sub call_text
{
	my ($text, $start) = @_;
	my $open = index($text, '(', $start);
	my $depth = 0;
	for (my $i = $open; $i < length $text; $i++)
	{
		my $c = substr($text, $i, 1);
		$depth++ if $c eq '(';
		return substr($text, $open, $i - $open + 1) if $c eq ')' && --$depth == 0;
	}
	return substr($text, $open);
}

sub check_message_style
{
	my @findings;
	for my $file (c_files())
	{
		my $with = code(slurp($file), 1);
		my $without = code(slurp($file), 0);

		while ($without =~ /\bereport\s*\(\s*(?:ERROR|FATAL|PANIC)\b/g)
		{
			my $call = call_text($without, $-[0]);
			my $line = line_of($without, $-[0]);
			push @findings, "$file:$line: an error without an SQLSTATE" if $call !~ /\berrcode\w*\s*\(/;
		}
		while ($with =~ /\berrmsg(?:_internal)?\s*\(\s*"((?:[^"\\]|\\.)*)"((?:\s*"(?:[^"\\]|\\.)*")*)/g)
		{
			my ($first, $more, $line) = ($1, $2, line_of($with, $-[0]));
			my $text = $first . join '', $more =~ /"((?:[^"\\]|\\.)*)"/g;
			push @findings, "$file:$line: message begins with a capital: \"$text\"" if $text =~ /^[A-Z][a-z]/;
			push @findings, "$file:$line: message ends with a full stop: \"$text\"" if $text =~ /[^.]\.$/;
			push @findings, "$file:$line: message has more than one line: \"$text\"" if $text =~ /\\n/;
		}
		while ($with =~ /\b(errdetail|errhint)\s*\(\s*"((?:[^"\\]|\\.)*)"((?:\s*"(?:[^"\\]|\\.)*")*)\s*[,)]/g)
		{
			my ($kind, $first, $more, $line) = ($1, $2, $3, line_of($with, $-[0]));
			my $text = $first . join '', $more =~ /"((?:[^"\\]|\\.)*)"/g;
			next if $text =~ /%s$/;	# the sentence ends in what is inserted
			push @findings, "$file:$line: $kind is not a full sentence: \"$text\""
			  if $text !~ /[.!?:]$/ || $text =~ /^[a-z]+[ ,]/;
		}
	}
	return @findings;
}

#
# SQL and versions
#

# SQL text with comments blanked out; quoted text and bodies stay.
sub sql_code
{
	my ($text) = @_;
	$text =~ s{(--[^\n]*|/\*.*?\*/)}{ (my $b = $1) =~ s/[^\n]/ /g; $b }gse;
	return $text;
}

sub check_install_sql
{
	my @findings;
	for my $file (files(qr/\.sql$/, map { "src/$_" } @layers), grep { -f } 'src/privileges.sql')
	{
		my $whole = slurp($file);
		while ($whole =~ /([^\x00-\x7f]+)/g)
		{
			push @findings, "$file:" . line_of($whole, $-[0]) . ': not every database\'s encoding has these characters, and none reads others';
		}
		my $text = sql_code($whole);
		while ($text =~ /^(GRANT|REVOKE)\b/gm)
		{
			push @findings, "$file:" . line_of($text, $-[0]) . ": $1 stands beside src/privileges.sql, which takes it back: say it there";
		}
		while ($text =~ /\bRAISE\s+EXCEPTION\b/gi)
		{
			push @findings, "$file:" . line_of($text, $-[0]) . ': errors are raised by dataprotect._raise(), which asks for a condition';
		}
		while ($text =~ /\bCREATE\s+OR\s+REPLACE\b/gi)
		{
			push @findings, "$file:" . line_of($text, $-[0]) . ': CREATE OR REPLACE could take over an object planted before the installation';
		}
		while ($text =~ /\bCREATE\s+(?:UNLOGGED\s+)?(FUNCTION|PROCEDURE|TABLE|VIEW|SEQUENCE|AGGREGATE)\s+(IF\s+NOT\s+EXISTS\s+)?([\w.\@"]+)/gi)
		{
			my ($kind, $unless, $name, $line) = (lc $1, $2, $3, line_of($text, $-[0]));
			push @findings, "$file:$line: $kind \"$name\": IF NOT EXISTS could take over a planted object" if $unless;
			push @findings, "$file:$line: $kind \"$name\" is not schema-qualified" if $name !~ /\./;
		}
	}
	return @findings;
}

sub release_versions
{
	return () if !-f 'CHANGELOG.md';
	return slurp('CHANGELOG.md') =~ /^## \[?(\d+\.\d+\.\d+)\]? - \d{4}-\d\d-\d\d/mg;
}

sub control_version
{
	return -f 'dataprotect.control' && slurp('dataprotect.control') =~ /^default_version\s*=\s*'([^']+)'/m ? $1 : '';
}

sub check_versions_agree
{
	my $version = control_version();
	return ('dataprotect.control:1: has no default_version') if $version eq '';
	my @findings;
	push @findings, "Makefile:1: EXTVERSION is not $version"
	  if !-f 'Makefile' || slurp('Makefile') !~ /^EXTVERSION\s*:?=\s*\Q$version\E\s*$/m;
	push @findings, "CHANGELOG.md:1: has no section for $version"
	  if !-f 'CHANGELOG.md' || slurp('CHANGELOG.md') !~ /^## \[?\Q$version\E\]?/m;
	my $meta = -f 'META.json' ? eval { JSON::PP->new->decode(slurp('META.json')) } : undef;
	if (!ref $meta)
	{
		push @findings, 'META.json:1: is not there or not JSON';
	}
	else
	{
		push @findings, "META.json:1: version is not $version" if $meta->{version} ne $version;
		push @findings, "META.json:1: the extension's version is not $version"
		  if ($meta->{provides}{dataprotect}{version} || '') ne $version;
	}
	return @findings;
}

# The install script as the Makefile puts it together.
sub install_script
{
	my @parts = makefile_list(slurp('Makefile'), 'SQL_PARTS');
	return join '', "\\echo Use \"CREATE EXTENSION dataprotect\" to load this file. \\quit\n", map { -f $_ ? slurp($_) : '' } @parts;
}

# Every release is kept in src/upgrade as it went out, and leads from there to the
# present version; what a release installs does not change after it.
sub check_upgrade_path
{
	my $current = control_version();
	my @releases = release_versions();
	my $tool = "$self/upgrade.pl";
	print "       no earlier release: nothing to upgrade from yet\n" if !grep { $_ ne $current } @releases;
	return if !@releases;
	my @findings;
	my $install = File::Temp->new;
	print $install install_script();
	close $install;
	for my $release (@releases)
	{
		my $kept = "src/upgrade/dataprotect--$release.sql.gz";
		if (!-f $kept)
		{
			push @findings, "CHANGELOG.md:1: the install script of release $release is not kept as $kept (pgxs/upgrade.pl freeze)";
			next;
		}
		if ($release eq $current)
		{
			push @findings, "$kept:1: the install SQL of $release has changed after its release: begin the next version"
			  if qx(gzip -dc "$kept") ne install_script();
			next;
		}
		my $out = qx("$^X" "$tool" script src/upgrade "$release" "$current" "$install" 2>&1 >/dev/null);
		push @findings, map { "src/upgrade:1: $_" } split /\n/, $out;
	}
	return @findings;
}

sub check_regress_pairs
{
	my %sql = map { m{([^/]+)\.sql$} ? ($1 => 1) : () } files(qr{\.sql$}, 'sql');
	my %expected = map { m{([^/]+?)(?:_\d)?\.out$} ? ($1 => 1) : () } files(qr{\.out$}, 'expected');
	return ((map { "sql/$_.sql:1: has no expected/$_.out" } grep { !$expected{$_} } sort keys %sql),
		(map { "expected/$_.out:1: has no sql/$_.sql" } grep { !$sql{$_} } sort keys %expected));
}

#
# Text
#

sub check_leftovers
{
	my @findings;
	my $marks = join '|', 'TO' . 'DO', 'FIX' . 'ME', 'X' . 'XX';
	for my $file (files(qr/\.(?:c|h|sql|sh|pl|pm|mk|md|conf|spec|control|json)$|Makefile$|\.ci\/run$/,
			qw(src sql test pgxs doc .ci)), grep { -f } qw(Makefile README.md CONTRIBUTING.md CHANGELOG.md META.json dataprotect.control))
	{
		my $text = slurp($file);
		my $number = 0;
		for my $line (split /\n/, $text)
		{
			$number++;
			push @findings, "$file:$number: leftover mark" if $line =~ /\b(?:$marks)\b/;
			push @findings, "$file:$number: white space at the end of the line" if $line =~ /[ \t\r]$/;
			push @findings, "$file:$number: a path of somebody's machine" if $line =~ m{(?<![\w.])/(?:work|home)/\w};
		}
		push @findings, "$file:$number: no newline at the end" if length $text && $text !~ /\n\z/;
		push @findings, "$file:$number: empty lines at the end" if $text =~ /\n\n\z/;
	}
	return @findings;
}

sub check_size
{
	my @findings;
	for my $file (c_files())
	{
		my @lines = split /\n/, slurp($file);
		push @findings, "$file:1: warning: " . scalar(@lines) . " lines (about $max_file_lines is where to split)"
		  if @lines > $max_file_lines;
		my $start;
		for my $i (0 .. $#lines)
		{
			$start = $i if $lines[$i] =~ /^\{/;
			if ($lines[$i] =~ /^\}/ && defined $start)
			{
				my $length = $i - $start - 1;
				push @findings, "$file:" . ($start + 1) . ": warning: function of $length lines (about $max_function_lines is where to split)"
				  if $length > $max_function_lines;
				undef $start;
			}
		}
	}
	return @findings;
}
