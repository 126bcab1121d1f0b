// The same as ../execs.c with cilium/ebpf; also prints the kernel's version as the library finds it.
package main

import (
	"bytes"
	_ "embed"
	"encoding/binary"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/cilium/ebpf"
	"github.com/cilium/ebpf/features"
	"github.com/cilium/ebpf/link"
	"github.com/cilium/ebpf/ringbuf"
	"github.com/cilium/ebpf/rlimit"
	"golang.org/x/sys/unix"
)

//go:embed execs.bpf.o
var object []byte

type event struct {
	Monotonic, Boottime uint64
	Name                [48]byte
}

func must(err error, what string) {
	if err != nil {
		fmt.Fprintf(os.Stderr, "%s: %v\n", what, err)
		os.Exit(1)
	}
}

func since(clock int32, then uint64) int64 {
	var now unix.Timespec

	must(unix.ClockGettime(clock, &now), "clock_gettime")
	return (now.Nano() - int64(then)) / 1000
}

func main() {
	version, err := features.LinuxVersionCode()
	must(err, "kernel version")
	must(rlimit.RemoveMemlock(), "memlock")
	spec, err := ebpf.LoadCollectionSpecFromReader(bytes.NewReader(object))
	must(err, "spec")
	all, err := ebpf.NewCollection(spec)
	must(err, "load")
	defer all.Close()
	attached, err := link.Tracepoint("sched", "sched_process_exec", all.Programs["on_exec"], nil)
	must(err, "attach")
	defer attached.Close()
	ring, err := ringbuf.NewReader(all.Maps["events"])
	must(err, "ring")
	fmt.Printf("kernel %d\nready\n", version)

	over := make(chan os.Signal, 1)
	signal.Notify(over, syscall.SIGINT)
	go func() {
		<-over
		ring.Close()
	}()
	for {
		var one event

		record, err := ring.Read()
		if err != nil {
			return
		}
		must(binary.Read(bytes.NewReader(record.RawSample), binary.LittleEndian, &one), "record")
		name, _, _ := bytes.Cut(one.Name[:], []byte{0})
		fmt.Printf("exec %s %d %d\n", name, since(unix.CLOCK_MONOTONIC, one.Monotonic),
			since(unix.CLOCK_BOOTTIME, one.Boottime))
	}
}
