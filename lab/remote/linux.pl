# The agent on a Linux machine: reads the kernel's counters and clock. Started through SSH; obeys
# lines on its standard input, ends with it.
#
#     once              one reading now
#     start INTERVAL    a reading at once and every INTERVAL seconds, kept in memory
#     stop              the readings since start, then the cost
#     now               epoch seconds of its clock
#     shift NANOSECONDS sets its clock forward, or back
#
# Its arguments are the counters to read, as group.counter (lab/counters/parse.py has them): lines
# of /proc/vmstat and /proc/meminfo, totals of /proc/pressure, files of debugfs. Every answer ends
# with a line `== end`. A reading is one line: epoch seconds, then NAME=VALUE for each of these that
# this kernel has. The cost is a line `cost CPU_SECONDS WALL_SECONDS READINGS` of this process.
# Perl, because it is in every Debian, reads a dozen small files in milliseconds of an emulated CPU,
# and needs few megabytes; a shell would start a process for each.
use strict;
use warnings;

my %wanted;
for (@ARGV) {
    my ($group, $name) = split /\./, $_, 2;
    $wanted{$group}{$name} = 1;
}

sub content {
    open(my $file, '<', $_[0]) or return '';
    sysread($file, my $text, 65536) or return '';
    return $text;
}

# Of x86-64: clock_settime is system call 227, clock_gettime is 228; clock 0 is real time, 1
# monotonic time. In nanoseconds.
sub nanoseconds {
    my $spec = pack('q2', 0, 0);
    syscall(228, $_[0], $spec);
    my ($seconds, $rest) = unpack('q2', $spec);
    return $seconds * 1000000000 + $rest;
}

sub clock { return nanoseconds($_[0]) / 1e9 }

sub told { return sprintf("%d.%09d\n", int($_[0] / 1000000000), $_[0] % 1000000000) }

sub shift_clock {
    my $time = nanoseconds(0) + $_[0];
    return syscall(227, 0, pack('q2', int($time / 1000000000), $time % 1000000000)) == 0 ? "set\n" : "refused: $!\n";
}

sub reading {
    my $line = sprintf('%.6f', clock(0));
    for (split /\n/, content('/proc/vmstat')) {
        my ($name, $value) = split / /;
        $line .= " vmstat.$name=$value" if $wanted{vmstat}{$name};
    }
    for (split /\n/, content('/proc/meminfo')) {
        my ($name, $value) = /^(\w+):\s+(\d+)/ or next;
        $line .= " meminfo.$name=$value" if $wanted{meminfo}{$name};
    }
    for my $resource (qw(memory io cpu)) {
        my $text = content("/proc/pressure/$resource");
        while ($text =~ /^(some|full) .*total=(\d+)/mg) {
            $line .= " psi.$resource.$1=$2" if $wanted{psi}{"$resource.$1"};
        }
    }
    for my $folder (qw(cleancache frontswap)) {
        for my $name (sort keys %{ $wanted{$folder} }) {
            $line .= " $folder.$name=$1" if content("/sys/kernel/debug/$folder/$name") =~ /^(\d+)/;
        }
    }
    return "$line\n";
}

sub answer { syswrite(STDOUT, join('', @_) . "== end\n") }

sub cpu { my ($user, $system) = times; return $user + $system }

my ($sampling, $interval, $began, $spent, @lines) = (0);

sub sample { push @lines, reading() }

answer("ready\n");
my $pending = '';
while (1) {
    my ($wait, $set) = (undef, '');
    vec($set, 0, 1) = 1;
    if ($sampling) {
        $wait = $began + @lines * $interval - clock(1);
        $wait = 0 if $wait < 0;
    }
    if (!select($set, undef, undef, $wait)) { sample(); next }
    sysread(STDIN, my $chunk, 4096) or last;
    $pending .= $chunk;
    while ($pending =~ s/^(.*)\n//) {
        my ($word, $rest) = split / /, $1;
        if ($word eq 'once') { answer(reading()) }
        elsif ($word eq 'now') { answer(told(nanoseconds(0))) }
        elsif ($word eq 'shift') { answer(shift_clock($rest)) }
        elsif ($word eq 'start') {
            ($sampling, $interval, $began, $spent, @lines) = (1, $rest, clock(1), cpu());
            sample();
            answer("started\n");
        } elsif ($word eq 'stop') {
            answer(@lines, sprintf("cost %.2f %.3f %d\n", $sampling ? cpu() - $spent : 0, $sampling ? clock(1) - $began : 0, scalar @lines));
            ($sampling, @lines) = (0);
        }
    }
}
