#!/usr/bin/perl
#
# A software bill of materials of a built library, as SPDX 2.3 in JSON.
#
#	pgxs/sbom.pl dataprotect.so
#
# What the library is linked with is read from it, and the package and version
# that provide it on this machine are asked of dpkg or rpm.  With
# $SOURCE_DATE_EPOCH set, two runs print the same bytes.
use strict;
use warnings;

use Digest::SHA ();
use File::Basename qw(dirname);
use JSON::PP ();
use POSIX qw(strftime);

my ($library) = @ARGV;
defined $library && -f $library or die "usage: pgxs/sbom.pl dataprotect.so\n";
my $top = dirname(dirname($0));

# Licences by SPDX identifier, as the projects themselves state them.
my %licence = (
	'libcrypto' => 'Apache-2.0',
	'libssl' => 'Apache-2.0',
	'libcurl' => 'curl',
	'libz' => 'Zlib',
	'libc' => 'LGPL-2.1-or-later',
	'libdl' => 'LGPL-2.1-or-later',
	'ld-linux-x86-64' => 'LGPL-2.1-or-later',
	'ld-linux-aarch64' => 'LGPL-2.1-or-later');

sub output_of
{
	my @command = @_;
	open(my $pipe, '-|', @command) or return '';
	local $/;
	my $text = <$pipe>;
	close $pipe;
	return defined $text ? $text : '';
}

my $control = do { open(my $fh, '<', "$top/dataprotect.control") or die "sbom.pl: no control file: $!\n"; local $/; <$fh> };
my ($version) = $control =~ /^default_version = '([^']+)'/m or die "sbom.pl: no version\n";

my @packages = (
	{
		SPDXID => 'SPDXRef-dataprotect',
		name => 'dataprotect',
		versionInfo => $version,
		licenseConcluded => 'PostgreSQL',
		licenseDeclared => 'PostgreSQL',
		copyrightText => 'Copyright (c) 2026, dataprotect developers',
		downloadLocation => 'NOASSERTION',
		filesAnalyzed => JSON::PP::false,
		checksums => [ { algorithm => 'SHA256', checksumValue => Digest::SHA->new(256)->addfile($library, 'b')->hexdigest } ],
	});
my @needed = output_of('objdump', '-p', $library) =~ /^\s+NEEDED\s+(\S+)/mg;
@needed or die "sbom.pl: \"$library\" names no library\n";
my %path = map { /^\s*(\S+) => (\S+) \(/ ? ($1 => $2) : () } split /\n/, output_of('ldd', $library);
my @relations = ({ spdxElementId => 'SPDXRef-DOCUMENT', relatedSpdxElement => 'SPDXRef-dataprotect', relationshipType => 'DESCRIBES' });

# The file's package and version; what neither knows stays without.
sub provider
{
	my ($file) = @_;
	for my $try (grep { defined } $file, $file =~ m{^/usr(/.*)} ? $1 : "/usr$file")
	{
		my ($name) = output_of('sh', '-c', 'dpkg-query -S "$1" 2>/dev/null', 'sh', $try) =~ /^([^:,\s]+)(?::\w+)?(?:,[^:]*)?: /;
		next if !defined $name;
		my $found = output_of('sh', '-c', 'dpkg-query -W -f "\${Version}\n" "$1" 2>/dev/null | head -n 1', 'sh', $name);
		chomp $found;
		return ($name, $found);
	}
	my $rpm = output_of('sh', '-c', 'command -v rpm >/dev/null && rpm -qf --qf "%{NAME} %{VERSION}-%{RELEASE}" "$1" 2>/dev/null', 'sh', $file);
	return $rpm =~ /^(\S+) (\S+)$/ ? ($1, $2) : ();
}

for my $soname (sort @needed)
{
	my ($stem) = $soname =~ /^(.*?)\.so/;
	my ($name, $found) = exists $path{$soname} ? provider($path{$soname}) : ();
	(my $id = "SPDXRef-$soname") =~ s/[^A-Za-z0-9.-]/-/g;
	push @packages,
	  {
		SPDXID => $id,
		name => defined $name ? $name : $soname,
		versionInfo => defined $found ? $found : 'NOASSERTION',
		licenseConcluded => 'NOASSERTION',
		licenseDeclared => defined $licence{$stem} ? $licence{$stem} : 'NOASSERTION',
		copyrightText => 'NOASSERTION',
		downloadLocation => 'NOASSERTION',
		filesAnalyzed => JSON::PP::false,
		comment => "linked as $soname",
	  };
	push @relations, { spdxElementId => 'SPDXRef-dataprotect', relatedSpdxElement => $id, relationshipType => 'DYNAMIC_LINK' };
}
print JSON::PP->new->canonical->pretty->encode(
	{
		spdxVersion => 'SPDX-2.3',
		dataLicense => 'CC0-1.0',
		SPDXID => 'SPDXRef-DOCUMENT',
		name => "dataprotect-$version",
		documentNamespace => "https://spdx.org/spdxdocs/dataprotect-$version-$packages[0]{checksums}[0]{checksumValue}",
		creationInfo => {
			created => strftime('%Y-%m-%dT%H:%M:%SZ', gmtime(defined $ENV{SOURCE_DATE_EPOCH} ? $ENV{SOURCE_DATE_EPOCH} : time)),
			creators => [ "Tool: pgxs/sbom.pl of dataprotect $version" ],
		},
		packages => \@packages,
		relationships => \@relations,
	});
