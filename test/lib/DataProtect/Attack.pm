package DataProtect::Attack;

=head1 NAME

DataProtect::Attack - a server with secrets, attackers, and ways to try

=head1 SYNOPSIS

	my $node = attack_node('name');
	denied($node, 'nobody', 'SELECT max(email) FROM victim', 'max()');
	conceals($node, 'owner', 'SELECT email FROM victim', 'output');
	no_oracle($node, 'nobody', "SELECT id FROM victim WHERE email = '%s'", 'probe');
	log_conceals($node);

Every value that is protected contains a marker, so that a disclosure is found
wherever it appears: in rows, in error texts, in notices, in the server's log.
What is disclosed without being shown (order, equality) is tested by asking for
an error, or for the same answer to a right and to a wrong guess.

=cut

use strict;
use warnings;

use Exporter 'import';
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

our @EXPORT = qw(
  attack_node
  attackers
  as
  denied
  refused
  conceals
  allowed
  no_oracle
  log_conceals
  secret
  wrong_guess
  MARKER
);

# In every text that is protected; its numbers are 7712345x.
use constant MARKER => 'Zq9x';

my @emails = map { "$_-Zq9x\@example.org" } qw(mallory anna zoe anna bob);

sub secret      { return $emails[1]; }
sub wrong_guess { return 'nosuch-Zq9x@example.org'; }

=head2 attack_node($name, %options)

A server with the key "pii", a table "victim" under it that everybody may read
and write, and one role for each kind of attacker:

	nobody		nothing but privileges on the table
	owner		owns the table
	masked, searcher, reader	the grants of that name (reader: reveal)
	admin		member of dataprotect_admin
	super		a superuser without a grant
	creator		CREATEROLE
	dumper		REPLICATION, pg_read_all_data

=cut

sub attack_node
{
	my ($name, %opt) = @_;

	# EXPLAIN answers twice the same only where nothing vacuums in between.
	$opt{conf} = "autovacuum = off\n" . ($opt{conf} // '');
	my $node = new_node($name, %opt);

	create_extension($node);
	$node->safe_psql('postgres', <<'SQL');
SELECT dataprotect.create_key('pii');
CREATE ROLE nobody LOGIN;
CREATE ROLE owner LOGIN;
CREATE ROLE masked LOGIN;
CREATE ROLE searcher LOGIN;
CREATE ROLE reader LOGIN;
CREATE ROLE admin LOGIN IN ROLE dataprotect_admin;
CREATE ROLE super LOGIN SUPERUSER;
CREATE ROLE creator LOGIN CREATEROLE;
CREATE ROLE dumper LOGIN REPLICATION IN ROLE pg_read_all_data;
SELECT dataprotect.grant_access('pii', 'masked', 'mask'),
	dataprotect.grant_access('pii', 'searcher', 'search'),
	dataprotect.grant_access('pii', 'reader', 'reveal');
GRANT ALL ON SCHEMA public TO PUBLIC;
CREATE TABLE victim (
	id int PRIMARY KEY,
	email encrypted_text('pii'),
	tok encrypted_text('pii', 'searchable'),
	ord encrypted_text('pii', 'ordered'),
	n encrypted_int4('pii'),
	amount encrypted_numeric('pii', '(12,2)'),
	born encrypted_date('pii'),
	doc encrypted_jsonb('pii'),
	raw encrypted_bytea('pii'));
ALTER TABLE victim OWNER TO owner;
GRANT ALL ON victim TO PUBLIC;
SQL
	my $id = 0;
	for my $email (@emails)
	{
		$id++;
		my $n = 77123450 + (3 * $id) % 5;
		$node->safe_psql('postgres', <<"SQL");
INSERT INTO victim VALUES ($id, '$email', '$email', '$email', $n, $n, date '1977-01-01' + $id,
	'{"mail": "$email"}', '$email');
SQL
	}
	$node->safe_psql('postgres', <<'SQL');
CREATE INDEX victim_email ON victim USING hash (email);
CREATE INDEX victim_tok ON victim (tok encrypted_text_token_ops);
CREATE INDEX victim_ord ON victim (ord) INCLUDE (id);
CREATE INDEX victim_ord_id ON victim (ord, id);
SQL
	return $node;
}

# Those who may compare nothing.
sub attackers { return qw(nobody owner masked admin super creator dumper); }

=head2 as($node, $role, $sql, %options)

Run SQL as a role, on a connection of its own; ($output, $errors, $sqlstate).

=cut

sub as
{
	my ($node, $role, $sql, %opt) = @_;
	my ($out, $err) = ('', '');
	my $rc = $node->psql($opt{database} || 'postgres', "\\set VERBOSITY verbose\n$sql",
		stdout => \$out, stderr => \$err, on_error_stop => 1, extra_params => [ '-U', $role ]);
	my ($state) = $err =~ /(?:ERROR|FATAL|PANIC):\s+([0-9A-Z]{5}):/;
	$state = $rc == 0 ? '00000' : 'none' if !defined $state;
	return ($out, $err, $state);
}

sub _says_secret
{
	my ($text) = @_;
	return $text =~ /Zq9x|7712345\d|WnE5e|5a713978|1977-01/i;
}

sub _report
{
	my ($ok, $name, $sql, $out, $err, $state) = @_;
	local $Test::Builder::Level = $Test::Builder::Level + 2;
	ok($ok, $name) or diag("$sql\nSQLSTATE $state\n$out\n$err");
	return $ok;
}

=head2 denied, refused, conceals, allowed($node, $role, $sql, $name)

The statement fails with "permission denied" (denied), with any other error of
ours or PostgreSQL's (refused; a pattern of SQLSTATEs may follow), does
whatever it does without showing a secret (conceals), succeeds (allowed).  All
but the last also want that neither result nor messages show one.

=cut

sub denied
{
	my ($node, $role, $sql, $name) = @_;
	my ($out, $err, $state) = as($node, $role, $sql);
	return _report($state eq '42501' && !_says_secret("$out$err"), "$role: $name", $sql, $out, $err, $state);
}

sub refused
{
	my ($node, $role, $sql, $name, $states) = @_;
	my ($out, $err, $state) = as($node, $role, $sql);
	$states = qr/^(?!00000|none|XX|57|58|08)/ if !defined $states;
	return _report($state =~ $states && !_says_secret("$out$err"), "$role: $name", $sql, $out, $err, $state);
}

sub conceals
{
	my ($node, $role, $sql, $name) = @_;
	my ($out, $err, $state) = as($node, $role, $sql);
	return _report($state !~ /^(?:none|XX|57|08)/ && !_says_secret("$out$err"), "$role: $name", $sql, $out, $err, $state);
}

sub allowed
{
	my ($node, $role, $sql, $name) = @_;
	my ($out, $err, $state) = as($node, $role, $sql);
	return _report($state eq '00000', "$role: $name", $sql, $out, $err, $state);
}

=head2 no_oracle($node, $role, $template, $name)

The statement, a guess in place of each %s, gives word for word the same answer
to a right and to a wrong guess.

=cut

sub no_oracle
{
	my ($node, $role, $template, $name) = @_;
	my @answers;
	for my $guess (secret(), wrong_guess())
	{
		(my $sql = $template) =~ s/%s/$guess/g;
		my $answer = join "\n", as($node, $role, "BEGIN;\n$sql\n;ROLLBACK;");
		$answer =~ s/\Q$guess\E/GUESS/g;
		$answer =~ s{enc:v1:[A-Za-z0-9+/=]+}{enc:v1:...}g;
		$answer =~ s/LINE \d+:.*\n\s*\^//g;
		push @answers, $answer;
	}
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	my $ok = is($answers[0], $answers[1], "$role: no oracle: $name");
	diag($template) if !$ok;
	return $ok;
}

=head2 log_conceals($node, $except)

No secret in the server's log; lines that match the pattern are left out.

=cut

sub log_conceals
{
	my ($node, $name) = @_;
	my @lines = grep { /Zq9x|7712345\d/ } split /\n/, slurp_file($node->logfile);
	local $Test::Builder::Level = $Test::Builder::Level + 1;
	ok(!@lines, $name || 'no secret in the server log')
	  or diag(join "\n", @lines[ 0 .. ($#lines < 9 ? $#lines : 9) ]);
	return;
}

1;
