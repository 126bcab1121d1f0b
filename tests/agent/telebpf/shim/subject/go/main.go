// A cilium/ebpf application, built without cgo and thus static: maps, global data, a ring buffer and a perf buffer,
// and what Go's run-time does to threads, stacks and signals meanwhile. Prints "go ok ..." when all held.
package main

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/perf"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
)

const rounds = 60

//go:embed rings.bpf.o
var object []byte

func must(err error, what string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func hold(condition bool, what string) {
	if !condition {
		fmt.Fprintln(os.Stderr, "does not hold:", what)
		os.Exit(1)
	}
}

// Recursion makes a goroutine's stack grow and move, with calls from every depth of it.
func deep(depth int) int {
	var room [256]byte

	room[depth%256] = byte(depth)
	if depth == 0 {
		return syscall.Getpid()
	}
	syscall.Getppid()
	return deep(depth-1) + int(room[depth%256]) - depth%256
}

// Threads that come and go, goroutines that are preempted by signals, garbage that is collected.
func churn() {
	var group sync.WaitGroup
	var sum atomic.Int64
	pid := syscall.Getpid()

	for i := 0; i < 40; i++ {
		group.Add(1)
		go func(locked bool) {
			defer group.Done()
			if locked {
				runtime.LockOSThread() // and never unlocked: the thread ends with the goroutine
			}
			for j := 0; j < 20; j++ {
				hold(deep(10+j*7) == pid, "a call from a deep stack")
				garbage := make([]byte, 10000)
				sum.Add(int64(len(garbage)))
			}
			until := time.Now().Add(15 * time.Millisecond)
			for time.Now().Before(until) {
			}
		}(i%4 == 0)
	}
	runtime.GC()
	group.Wait()
	hold(sum.Load() == 40*20*10000, "what goroutines have counted")
}

func signals() {
	told := make(chan os.Signal, 100)

	signal.Notify(told, syscall.SIGUSR1)
	for i := 0; i < 20; i++ {
		must(syscall.Kill(syscall.Getpid(), syscall.SIGUSR1), "kill")
		<-told
	}
	signal.Stop(told)
}

// Itself, by the link that the kernel would point at its loader.
func children() {
	name, err := os.Executable()
	must(err, "os.Executable")
	for _, command := range [][]string{{name, "child"}, {"/proc/self/exe", "child"}, {"/bin/uname", "-r"}} {
		out, err := exec.Command(command[0], command[1]).Output()
		must(err, command[0])
		hold(string(out) == release()+"\n", "the release that a child tells")
	}
}

func release() string {
	var name syscall.Utsname
	text := []byte{}

	must(syscall.Uname(&name), "uname")
	for _, c := range name.Release {
		if c != 0 {
			text = append(text, byte(c))
		}
	}
	return string(text)
}

// Reads records until the ring is closed, and adds them up.
func drain(read func() ([]byte, error), counts *atomic.Int64, sum *atomic.Uint64) {
	for {
		raw, err := read()
		if err != nil {
			return
		}
		sum.Add(binary.LittleEndian.Uint64(raw))
		counts.Add(1)
	}
}

func rings() string {
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	must(err, "spec")
	must(spec.Variables["step"].Set(uint64(2)), "step")
	must(spec.Variables["start"].Set(uint64(5000)), "start")
	must(rlimit.RemoveMemlock(), "memlock")
	all, err := ebpf.NewCollection(spec)
	must(err, "load")
	defer all.Close()
	ring, err := ringbuf.NewReader(all.Maps["ring"])
	must(err, "ring")
	buffer, err := perf.NewReader(all.Maps["perf"], 4096)
	must(err, "perf")

	var ringCount, perfCount atomic.Int64
	var ringSum, perfSum atomic.Uint64
	var group sync.WaitGroup
	group.Add(2)
	go func() {
		defer group.Done()
		drain(func() ([]byte, error) {
			r, err := ring.Read()
			return r.RawSample, err
		}, &ringCount, &ringSum)
	}()
	go func() {
		defer group.Done()
		drain(func() ([]byte, error) {
			r, err := buffer.Read()
			if err == nil && r.LostSamples > 0 {
				hold(false, "no record is lost")
			}
			return r.RawSample, err
		}, &perfCount, &perfSum)
	}()
	var expected uint64
	for i := 1; i <= rounds; i++ {
		_, err := all.Programs["produce"].Run(&ebpf.RunOptions{})
		must(err, "run")
		expected += 5000 + 2*uint64(i)
		for i%4 == 0 && (ringCount.Load() < int64(i) || perfCount.Load() < int64(i)) {
			time.Sleep(time.Millisecond)
		}
	}
	hold(ringSum.Load() == expected && perfSum.Load() == expected, "the sums of both rings")
	must(ring.Close(), "close")
	must(buffer.Close(), "close")
	group.Wait()
	return fmt.Sprintf("%d and %d records", ringCount.Load(), perfCount.Load())
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "child" {
		fmt.Println(release())
		return
	}
	version, err := features.LinuxVersionCode()
	must(err, "kernel version")
	signals()
	churn()
	children()
	records := rings()
	churn()
	fmt.Printf("go ok: %s, kernel %d.%d.%d\n", records, version>>16, version>>8&255, version&255)
}
