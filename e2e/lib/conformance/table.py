"""The applications: how each is run, and how what it prints is compared.

`match` finds the lines that the workload causes, `drop` names the columns (from 0) that hold times: when a line was
printed, how long something took. "{worker}" in an argument becomes the pid of worker.c, which does the same things
each time: who watches only it must count the same. The libbpf-tools are those of Debian 12's package, all of them.
"""
import dataclasses
import re

from .compare import CONTROL, EVENTS, HISTOGRAM, KEYS, ROWS, SAMPLES


@dataclasses.dataclass(frozen=True)
class Tool:
    name: str
    kind: str
    args: tuple = ()
    match: str = ""
    drop: tuple = ()
    package: str = "libbpf-tools"
    path: str = ""            # default: /usr/sbin/NAME
    status: int = 0           # exit status that is no failure
    workload: bool = True
    interrupt: bool = True    # SIGINT ends it; otherwise it ends by itself
    turns: bool = False       # one after the other: it lists what is there
    any_order: bool = False
    seconds: float = 30.0     # for those that end by themselves
    mask: str = ""            # what is different by nature in a line
    about: str = ""           # for the documentation, where NAME and ARGS do not say it

    def words(self, worker="PID"):
        return [self.path or f"/usr/sbin/{self.name}", *(arg.replace("{worker}", str(worker)) for arg in self.args)]

    def clean(self, line):
        return re.sub(self.mask, "*", line) if self.mask else line

    @property
    def title(self):
        return self.about or " ".join([self.name, *self.words()[1:]])


HERE = "/run/conformance"

LIBBPF_TOOLS = (
    Tool("bashreadline", EVENTS, match=r"echo line-\d of conformance", drop=(0,)),
    Tool("bindsnoop", EVENTS, match=r" (nc|httpd) "),
    Tool("biolatency", HISTOGRAM),
    Tool("biopattern", KEYS, match=r"loop0", drop=(1, 2, 3, 4)),
    Tool("biosnoop", EVENTS, match=r" loop0 ", drop=(0, 7)),
    Tool("biostacks", CONTROL),
    Tool("biotop", CONTROL, ("-C",)),
    Tool("bitesize", HISTOGRAM),
    Tool("btrfsdist", CONTROL),
    Tool("btrfsslower", CONTROL, ("-m", "0")),
    Tool("cachestat", CONTROL),
    Tool("capable", EVENTS, ("-u", "pid"), match=r" chown .*CAP_(CHOWN|FOWNER)", drop=(0,)),
    Tool("cpudist", HISTOGRAM, ("-p", "{worker}")),
    Tool("cpufreq", CONTROL),
    Tool("drsnoop", CONTROL),
    Tool("execsnoop", EVENTS, match=r"^(uname|touch|cat|stat|chown|rm|mount|umount|wget|nc|kill|dd) .*/bin/"),
    Tool("exitsnoop", EVENTS, match=r"^(uname|touch|chown|mount|umount|wget) ", drop=(4,)),
    Tool("ext4dist", HISTOGRAM, ("-p", "{worker}")),
    Tool("ext4slower", EVENTS, ("-m", "0"), match=r" data-\d", drop=(0, 6)),
    Tool("filelife", EVENTS, match=r" short-\d", drop=(0, 3)),
    Tool("filetop", KEYS, ("-C", "-p", "{worker}"), match=r" worker-data", drop=(2, 3, 4, 5)),
    Tool("fsdist", HISTOGRAM, ("-t", "ext4", "-p", "{worker}")),
    Tool("fsslower", EVENTS, ("-t", "ext4", "-m", "0"), match=r" data-\d", drop=(0, 6)),
    Tool("funclatency", HISTOGRAM, ("-p", "{worker}", "vfs_read")),
    Tool("gethostlatency", EVENTS, match=r"host-\d\.invalid", drop=(0, 3)),
    Tool("hardirqs", CONTROL),
    Tool("javagc", CONTROL, ("-p", "1")),
    Tool("killsnoop", EVENTS, match=r" kill +10 ", drop=(0,)),
    Tool("klockstat", CONTROL, ("-n", "1"), mask=r"\d.*"),
    Tool("ksnoop", EVENTS, ("trace", "path_mount"), match=r"path_mount", drop=(0,)),
    Tool("llcstat", CONTROL),
    Tool("mdflush", CONTROL),
    Tool("mountsnoop", EVENTS, match=r'"conformance"|/run/conformance/mounted'),
    Tool("nfsdist", CONTROL),
    Tool("nfsslower", CONTROL, ("-m", "0")),
    Tool("numamove", CONTROL, mask=r"\d+"),
    Tool("offcputime", KEYS, ("-p", "{worker}", "-m", "100"), match=r"^ +- +worker "),
    Tool("oomkill", EVENTS, match=r'OOM kill of PID \d+ \("tail"\)', drop=(0, 15, 16, 17, 18, 19)),
    Tool("opensnoop", EVENTS, match=r"/run/conformance/(missing|short)-\d"),
    Tool("readahead", CONTROL),
    Tool("runqlat", HISTOGRAM, ("-p", "{worker}")),
    Tool("runqlen", SAMPLES, ("3", "1"), interrupt=False),
    Tool("runqslower", KEYS, ("1",), match=r" (wget|mount|script|dd) ", drop=(0, 2, 3)),
    Tool("sigsnoop", EVENTS, match=r" kill +10 ", drop=(0,)),
    Tool("slabratetop", CONTROL, ("-C",), mask=r"\d.*"),
    Tool("softirqs", CONTROL),
    Tool("solisten", EVENTS, match=r" (nc|httpd) "),
    Tool("statsnoop", CONTROL),  # shows nothing on this kernel
    Tool("syscount", EVENTS, ("-p", "{worker}", "-T", "40"),
         match=r"^[a-z_0-9]+ +\d+$"),
    Tool("tcpconnect", EVENTS, match=r" (wget|nc) .* 127\.0\.0\.1 "),
    Tool("tcpconnlat", EVENTS, match=r" (wget|nc) .* 127\.0\.0\.1 ", drop=(6,)),
    Tool("tcplife", EVENTS, match=r" (8099|9) ", drop=(8,)),
    Tool("tcprtt", HISTOGRAM),
    Tool("tcpstates", EVENTS, match=r" 8099 ", drop=(10,)),
    Tool("tcpsynbl", HISTOGRAM),
    Tool("tcptop", KEYS, ("-C", "-r", "100"), match=r"127\.0\.0\.1:8099", drop=(4, 5)),
    Tool("tcptracer", EVENTS, match=r" (8099|9)$", drop=()),
    Tool("vfsstat", CONTROL, ("1", "3"), interrupt=False, mask=r"\d+"),
    Tool("wakeuptime", CONTROL),
    Tool("xfsdist", CONTROL),
    Tool("xfsslower", CONTROL, ("-m", "0")),
)


def listing(words, about="", **more):
    """bpftool: ends by itself, is run in turns, its output is compared line by line."""
    more = {"seconds": 120.0, **more}
    return Tool("bpftool", ROWS, tuple(words.split()), package="bpftool", workload=False, interrupt=False, turns=True,
                about=about, **more)


BPFTOOL = (
    listing("version"),
    listing("prog list", mask="loaded_at [^ ]*"),  # from the two clocks of the reader
    listing("-j prog list", mask='"loaded_at":[0-9]*'),
    listing("-f prog show name there_xdp", mask="loaded_at [^ ]*"),
    listing("prog show pinned /sys/fs/bpf/there/there_egress", mask="loaded_at [^ ]*"),
    listing("prog dump xlated name mount_entry"),
    listing("prog dump xlated name mount_entry visual"),
    listing("-j prog dump xlated name there_connect opcodes"),
    listing("prog dump jited name mount_entry"),
    listing("map list"),
    listing("-j -f map list"),
    listing("map show pinned /sys/fs/bpf/counts"),
    listing("map dump name counts"),
    listing("-p map dump name counts"),
    listing("map lookup name counts key 1 0 0 0"),
    listing("map lookup name counts key 5 0 0 0"),
    listing("map getnext name counts"),
    listing("btf list"),
    listing("btf dump prog name there_connect"),
    listing("btf dump prog name mount_entry format c"),
    listing("btf dump file /sys/kernel/btf/vmlinux format raw"),
    listing("link list"),
    listing("-j -f link list"),
    listing("perf list"),
    listing("net list"),
    listing("-j net list dev lo"),
    listing("cgroup tree"),
    listing("cgroup show /sys/fs/cgroup/conformance"),
    listing("cgroup list /sys/fs/cgroup/conformance effective"),
    listing("struct_ops list"),
    listing("feature list_builtins helpers"),
    listing("feature probe kernel", seconds=400.0),
)


def oneliner(about, program, kind=EVENTS, **more):
    return Tool("bpftrace", kind, ("-e", program), path="/usr/bin/bpftrace", package="bpftrace", about=f"bpftrace: {about}",
                **more)


BPFTRACE = (
    oneliner("tracepoint, printf", 'tracepoint:syscalls:sys_enter_unlink* /comm == "rm"/ { printf("%s %s %d\\n", comm, '
             'str(args->pathname), pid); }', match=r"^rm .*short-"),
    oneliner("kprobe, map of counts", 'kprobe:vfs_read, kprobe:vfs_write, kprobe:vfs_fsync_range '
             '/pid == {worker}/ { @[probe] = count(); }', match=r"^@\["),
    oneliner("kretprobe, histogram", 'kretprobe:vfs_read /pid == {worker}/ { @ = hist(retval); }', match=r"^[\[(]|^@"),
    oneliner("tracepoint, sum, avg, min, max", 'tracepoint:syscalls:sys_exit_pread64 /pid == {worker}/ '
             '{ @sum = sum(args->ret); @avg = avg(args->ret); @min = min(args->ret); @max = max(args->ret); '
             '@all = stats(args->ret); @[args->ret] = count(); }', match=r"^@"),
    oneliner("kernel stacks", 'kprobe:vfs_fsync_range /pid == {worker}/ { @[kstack] = count(); }', match=r"^@| +\w+\+\d+|^\]"),
    oneliner("user stacks", 'kprobe:vfs_fsync_range /pid == {worker}/ { @[ustack] = count(); }', match=r"^@| +\w+|^\]"),
    oneliner("fentry", 'kfunc:vfs_fsync_range /pid == {worker}/ { @[args->datasync] = count(); }', match=r"^@"),
    oneliner("uprobe", 'uprobe:/bin/bash:readline { printf("readline %s %d\\n", comm, pid); }', match=r"^readline bash"),
    oneliner("interval", 'BEGIN { printf("begin\\n"); } interval:ms:300 { @n = count(); @i++; if (@i > 3) { exit(); } }',
             match=r"^(@|begin)", workload=False, interrupt=False),
    oneliner("software event", 'software:page-faults:1 /pid == {worker}/ { @[comm] = count(); }', match=r"^@\["),
    oneliner("profile", 'profile:hz:99 { @[cpu] = count(); }', KEYS, match=r"^@\[\d", drop=(1,)),
)

ALL = LIBBPF_TOOLS + BPFTOOL + BPFTRACE

# --quick: something of each class, perf buffers, ring buffers, histograms, uprobes, listings.
QUICK = ("execsnoop", "opensnoop", "tcpconnect", "mountsnoop", "bashreadline", "filetop", "runqlat", "cachestat",
         "bpftool map list", "bpftool net list", "bpftool prog dump xlated name mount_entry",
         "bpftrace: kprobe, map of counts")


def quick():
    return [tool for tool in ALL if tool.title in QUICK or tool.name in QUICK]
