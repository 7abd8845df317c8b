# Written by TaskHub. Stands above run.sh: runs it once, passes its output on, and says in the log how it ended.
#
# 1. Makes the folder that only one can make, so a start that is repeated runs the script once; holds the lock whose
#    release says that the runner has died.
# 2. Becomes the reaper of every process that the script leaves behind, also of one with a session and an environment of
#    its own, and ends them when run.sh has ended.
# 3. Passes whole lines on at once. Text that waits for its newline goes out as a mark after a moment: a terminal would
#    have shown it.
# 4. Prints the end mark on both streams as its last act, also where run.sh was killed.
#
# Perl without modules, but for Config: what Debian's perl-base has.
use strict;
use Config;

my ($launch, $work) = @ARGV;
my $own = "$launch/..";
$^F = 255;    # run.sh reads it too: it inherits it, and is told its number
open(my $file, "<", "$launch/env.sh") or exit 127;
$^F = 2;
unlink "$launch/env.sh";
my (undef, $end, $run) = split ' ', scalar <$file>;
seek $file, 0, 0;
mkdir "$own/started" or do { unlink "$launch/credential"; exit 222 };
open(my $lock, ">>", "$own/lock");
flock $lock, 2 | 4;
{ my $path = $work; $path =~ s{/[^/]*$}{}; mkdir $path; mkdir $work }

# prctl(PR_SET_CHILD_SUBREAPER); its number is known for these.
my %prctl = (x86_64 => 157, aarch64 => 167);
my ($machine) = $Config{archname} =~ /^(\w+)-/;
syscall $prctl{$machine}, 36, 1, 0, 0, 0 if $prctl{$machine} && $Config{ptrsize} == 8;

pipe my $out, my $out_end;
pipe my $err, my $err_end;
$^F = 255;    # inherited by run.sh, which is told its number
pipe my $told, my $told_end;
my $runner = fork;
unless (defined $runner) { unlink "$launch/credential"; exit 127 }
unless ($runner) {
    close $told;
    open STDOUT, ">&", $out_end;
    open STDERR, ">&", $err_end;
    exec "/bin/bash", "$launch/run.sh", fileno $told_end, fileno $file;
    exit 127;
}
close $_ for $out_end, $err_end, $told_end, $file;
$0 = "taskhub";    # so that `pkill perl` means the script's own
$SIG{$_} = "IGNORE" for qw(TERM INT HUP PIPE QUIT USR1 USR2 TSTP TTOU TTIN ALRM);
$SIG{CHLD} = sub { };

my ($status, $words, $until);
my @streams = map { { in => $_->[0], to => $_->[1], rest => "", first => 0, last => 0, shown => "" } }
    [$out, \*STDOUT], [$err, \*STDERR];
my $notes = "";

sub put {
    my ($to, $text) = @_;
    while (length $text) {
        my $written = syswrite $to, $text;
        if (defined $written) { substr($text, 0, $written) = "" }
        elsif (!$!{EINTR}) { return }    # whoever read it is gone
    }
}

sub mark { "\e_$run$_[0]\e\\" }

sub take {
    my ($stream) = @_;
    my $got = sysread $stream->{in}, my $text, 65536;
    return if !defined $got;
    my $now = clock();
    if (!$got) {
        put($stream->{to}, $stream->{rest});
        close $stream->{in};
        @$stream{qw(in rest)} = (undef, "");
        return;
    }
    my $cut = rindex($text, "\n") + 1;
    if ($cut) {
        put($stream->{to}, $stream->{rest} . substr $text, 0, $cut);
        $text = substr $text, $cut;
        @$stream{qw(rest shown first begun)} = ("", "", $now, 0);
    }
    $stream->{first} = $now if $stream->{rest} eq $stream->{shown};
    $stream->{last}  = $now;
    $stream->{rest} .= $text;
    # A line of a megabyte is no prompt; and its mark would stand inside the line.
    if (length $stream->{rest} > 1048576) {
        put($stream->{to}, $stream->{rest});
        @$stream{qw(rest shown begun)} = ("", "", 1);
    }
}

# What a terminal would show of an unfinished line: behind its last carriage return, at most 2,000 bytes.
sub show {
    my ($stream) = @_;
    my $text = substr $stream->{rest}, -4000;
    $text =~ s/\r+\z//;
    $text =~ s/.*\r//s;
    $text = substr $text, -2000 if length $text > 2000;
    $text =~ s/^[\x80-\xBF]+//;
    $text =~ s/(?:[\xC0-\xFF]|[\xE0-\xFF][\x80-\xBF]|[\xF0-\xFF][\x80-\xBF]{2})\z//;
    put($stream->{to}, mark("P") . "$text\n");
    $stream->{shown} = $stream->{rest};
}

sub clock { my $t = pack "x32"; syscall 228, 1, $t if $machine eq "x86_64"; syscall 113, 1, $t if $machine eq "aarch64";
    my ($s, $ns) = unpack "q q", $t; $s || $ns ? $s + $ns / 1e9 : time }

sub waiting { defined $_[0]{in} && !$_[0]{begun} && $_[0]{rest} ne $_[0]{shown} }

sub due { my $s = $_[0]; my $quiet = $s->{last} + 0.3; my $most = $s->{first} + 0.7; $quiet < $most ? $quiet : $most }

sub listen_to_runner {
    my $got = sysread $told, my $text, 4096;
    if (!$got) { close $told; undef $told; return }
    $notes .= $text;
    while ($notes =~ s/^(.*)\n//) {
        my $note = $1;
        if ($note =~ /^F \d+$/) { put(\*STDOUT, mark("F" . substr $note, 2) . "\n") }
        elsif ($note =~ s/^E //) { $words = $note }
    }
}

sub below {
    my (%children, @found);
    for my $path (glob "/proc/[0-9]*/stat") {
        open my $stat, "<", $path or next;
        my $line = <$stat>;
        my ($pid, $parent) = $line =~ /^(\d+) \(.*\) \S+ (\d+)/s or next;
        push @{ $children{$parent} }, $pid;
    }
    my @at = ($$);
    while (@at) { my @next = map { @{ $children{$_} || [] } } @at; push @found, @next; @at = @next }
    return @found;
}

# Stopped before they are killed, so that none forks meanwhile.
sub end_all {
    my $most = clock() + 1.5;
    while (reap() && clock() < $most) {
        my ($known, @found) = (-1);
        for (1 .. 20) { @found = below(); last if @found == $known; $known = @found; kill STOP => @found }
        kill KILL => @found;
        select undef, undef, undef, 0.005;
    }
}

# Whether there are children left.
sub reap {
    while ((my $pid = waitpid -1, 1) != 0) {
        return 0 if $pid < 0;
        $status = $? if $pid == $runner;
    }
    return 1;
}

while (1) {
    reap();
    if (defined $status && !defined $until) { end_all(); $until = clock() + 1 }
    my ($bits, $wait) = ("", defined $until ? $until - clock() : 1);
    for my $stream (@streams) {
        vec($bits, fileno $stream->{in}, 1) = 1 if $stream->{in};
        if (waiting($stream)) { my $left = due($stream) - clock(); $wait = $left if $left < $wait }
    }
    vec($bits, fileno $told, 1) = 1 if $told;
    last if $bits eq "" && defined $status;
    last if defined $until && $wait <= 0 && clock() >= $until;
    my $ready = select my $seen = $bits, undef, undef, $wait > 0 ? $wait : 0;
    if ($ready > 0) {
        for my $stream (@streams) { take($stream) if $stream->{in} && vec $seen, fileno $stream->{in}, 1 }
        listen_to_runner() if $told && vec $seen, fileno $told, 1;
    }
    for my $stream (@streams) { show($stream) if waiting($stream) && clock() >= due($stream) }
}
put($_->{to}, $_->{rest}) for @streams;
my $code = $status & 127 ? 128 + ($status & 127) : $status >> 8;
$words = "$code 0 0 killed" unless defined $words;
my ($said) = $words =~ /^(\d+)/;
put($_->{to}, "\e_${end}E$words\e\\\n") for reverse @streams;
exit $said;
