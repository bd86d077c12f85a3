# If this fails, the report shows what its reader may not see, carries somebody's
# markup into a browser, loads from elsewhere, or discovery shows or logs a sample.
use strict;
use warnings;

use PostgreSQL::Test::Cluster;
use PostgreSQL::Test::Utils;
use Test::More;

use DataProtect::Test;

my $node = new_node('report', conf => "log_statement = 'all'\nlog_min_duration_statement = 0\nlog_parameter_max_length_on_error = -1\n");
create_extension($node);

sub sql { return $node->safe_psql('postgres', $_[0]); }
sub as_role { my ($role, $sql) = @_; my ($rc, $out, $err) = $node->psql('postgres', $sql, extra_params => [ '-U', $role ]); return ($out, $err); }

# Names are anybody's to choose: of tables, columns, keys, policies, roles, accounts.
my $markup = q{"><script>alert(1)</script>&amp;'};
my $quoted = $markup =~ s/'/''/gr;
my $ident = '"' . ($markup =~ s/"/""/gr) . '"';
my $literal = $ident =~ s/'/''/gr;	# the identifier in a string
sql(<<"SQL");
CREATE ROLE dpo LOGIN IN ROLE dataprotect_auditor, dataprotect_admin;
CREATE ROLE keeper LOGIN IN ROLE dataprotect_admin;
CREATE ROLE $ident LOGIN;
CREATE SCHEMA shop;
SELECT dataprotect.create_key('pii', description => '$quoted');
CREATE TABLE shop.$ident (id int PRIMARY KEY, "email ${\($markup =~ s/"/""/gr)}" text, email text, at timestamptz, $ident text);
INSERT INTO shop.$ident VALUES (1, 'anna-Zq9x\@example.org', 'anna-Zq9x\@example.org', now() - interval '2 years', 'x');
CALL dataprotect.encrypt_column('shop.$literal', 'email', 'pii', searchable => true);
SELECT dataprotect.grant_access('pii', '$literal', 'reveal', reason => '$quoted');
CREATE INDEX ON shop.$ident (at);
GRANT USAGE ON SCHEMA shop TO PUBLIC;
GRANT SELECT ON shop.$ident TO PUBLIC;
SELECT dataprotect.create_retention_policy('$quoted', 'shop.$literal', 'at', '1 year', 'delete');
SELECT dataprotect.create_account_type('$quoted', 'shop.$literal', 'id');
SQL
is((as_role($markup, "SELECT email FROM shop.$ident"))[0], 'anna-Zq9x@example.org', 'a value is opened');

my ($page) = as_role('dpo', 'SELECT dataprotect.report()');
like($page, qr/^<!DOCTYPE html>.*<\/html>$/s, 'one page');
like($page, qr/&lt;script&gt;alert\(1\)/, 'names are in it');
unlike($page, qr/<script|javascript:|onload=/i, 'as text, not as markup');
is(scalar(() = $page =~ /&amp;amp;/g) > 0, 1, 'what looks escaped already is escaped once more');
unlike($page, qr/\b(src|href)\s*=|url\(|\@import|https?:/i, 'nothing comes from elsewhere');
unlike($page, qr/Zq9x/, 'no protected value is in it');
for my $part ('Coverage', 'Keys', 'Who can see what', 'Who saw what', 'Retention', 'Deletions', 'Alerts', 'Incidents', 'Controls and promises', 'This server')
{
	like($page, qr/<h2>\Q$part\E<\/h2>/, "it has the part \"$part\"");
}
like($page, qr/Values opened in the last thirty days/, 'an auditor sees who saw what');
like($page, qr{<rect [^>]*height="120\.0" class="f-plain"><title>\d{4}-\d\d-\d\d: 1</title>}, 'the value that was opened just now stands in the chart');
my %open;
$open{$1}++ while $page =~ /<(section|svg|table|tr|td|main|html|body|div|span|p)\b[^>]*>/g;
my %close;
$close{$1}++ while $page =~ /<\/(section|svg|table|tr|td|main|html|body|div|span|p)>/g;
is_deeply(\%open, \%close, 'every element that is opened is closed');

($page) = as_role('keeper', 'SELECT dataprotect.report()');
like($page, qr/<h2>Who can see what<\/h2>/, 'an administrator gets the page');
like($page, qr/For members of dataprotect_auditor/, 'without who saw what');
unlike($page, qr/Values opened in the last thirty days/, 'not even the figures');
like((as_role($markup, 'SELECT dataprotect.report()'))[1], qr/permission denied/, 'who may read values gets no report');

# A lent call is its caller's: a function of the auditor shows others no more than themselves.
sql("GRANT CREATE ON SCHEMA shop TO dpo");
as_role('dpo', 'CREATE FUNCTION shop.lent() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT dataprotect.report() $$');
unlike((as_role('keeper', 'SELECT shop.lent()'))[0], qr/Values opened in the last thirty days/, 'an auditor\'s function does not lend the log');

# Discovery: samples are neither shown nor logged, whatever is logged.
my $offset = -s $node->logfile;
sql("CREATE TABLE shop.plain (id int, contact text); INSERT INTO shop.plain SELECT i, 'berta-Zq7y' || i || '\@example.org' FROM generate_series(1, 50) i");
my $from = -s $node->logfile;
like(sql(q{SELECT col, kind, confidence >= 0.8 FROM dataprotect.find_personal_data('shop') WHERE rel = 'shop.plain'::regclass}), qr/^contact\|email\|t$/, 'found by content alone');
unlike(sql(q{SELECT string_agg(p::text, ' ') FROM dataprotect.find_personal_data('shop') p}), qr/Zq[79]/, 'no sample is shown');
unlike(sql(q{SELECT dataprotect.protect_plan('shop')}), qr/Zq[79]/, 'nor in a plan');
unlike(slurp_file($node->logfile, $from), qr/Zq[79]/, 'nor logged');
# code of the table's owner that planning or reading runs has the owner's rights
sql(<<'SQL');
CREATE ROLE mallory LOGIN;
GRANT CREATE ON SCHEMA shop TO mallory;
SQL
as_role('mallory', <<'SQL');
CREATE FUNCTION shop.trap(text) RETURNS text IMMUTABLE LANGUAGE plpgsql AS $$
BEGIN
    EXECUTE 'ALTER ROLE mallory SUPERUSER';
    RETURN $1;
EXCEPTION WHEN OTHERS THEN RETURN $1;
END $$;
CREATE TABLE shop.bait (id int, email text);
INSERT INTO shop.bait SELECT i, 'x' FROM generate_series(1, 10) i;
CREATE INDEX ON shop.bait (shop.trap(email)) WHERE shop.trap('a') = 'a';
SQL
sql(q{SELECT count(*) FROM dataprotect.find_personal_data('shop'); SELECT length(dataprotect.protect_plan('shop')); SELECT length(dataprotect.report())});
is(sql("SELECT rolsuper FROM pg_roles WHERE rolname = 'mallory'"), 'f', 'an index expression gains nothing by being planned for a superuser');

# A library beside objects of another version: an error that says what to do, no crash,
# and everything back afterwards.
my $skew = sub { sql("SET allow_system_table_mods = on; UPDATE pg_extension SET extversion = '$_[0]' WHERE extname = 'dataprotect'") };
my $version = sql("SELECT extversion FROM pg_extension WHERE extname = 'dataprotect'");
$from = -s $node->logfile;
$skew->('0.0.9');
my ($seen, $error) = as_role($markup, "SELECT email FROM shop.$ident");
is($seen, '', 'objects of another version: nothing is read');
like($error, qr/is version 0\.0\.9, and the loaded library is \Q$version\E.*ALTER EXTENSION dataprotect UPDATE/s, 'the error says what to do');
is(sql('SELECT extension, consistent FROM dataprotect.dataprotect_version()') =~ s/\|/ /r, '0.0.9 f', 'dataprotect_version() tells');
is(sql("SELECT ok FROM dataprotect.check_setup() WHERE item = 'one version'"), 'f', 'and check_setup()');
is(sql('SELECT id FROM shop.plain LIMIT 1'), '1', 'what is not protected works');
$node->stop;
$node->start;
poll_until('the log tells of it', sub { slurp_file($node->logfile, $from) =~ /is version 0\.0\.9, and the loaded library is/ });
is(sql('SELECT 1'), '1', 'the server runs');
unlike(slurp_file($node->logfile, $from), qr/terminated by signal/, 'no process crashed');
$skew->($version);
is((as_role($markup, "SELECT email FROM shop.$ident"))[0], 'anna-Zq9x@example.org', 'brought in line, it opens again');

$node->stop;
done_testing();
