// client-go-follow KUBECONFIG EVENTS: client-go's shared informer over all VMMonitors, which keeps the same fields as
// bench-kube-follow and no more. Prints what it took as JSON, once synced and once EVENTS changes have come.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
)

var resource = schema.GroupVersionResource{Group: "yagura.dev", Version: "v1alpha1", Resource: "vmmonitors"}

type app struct{ name, program string }

// monitor is what is kept of an object.
type monitor struct {
	metav1.ObjectMeta
	suspend bool
	apps    []app
}

func transform(object interface{}) (interface{}, error) {
	whole, ok := object.(*unstructured.Unstructured)
	if !ok {
		return object, nil
	}
	kept := &monitor{ObjectMeta: metav1.ObjectMeta{Namespace: strings.Clone(whole.GetNamespace()),
		Name: strings.Clone(whole.GetName()), Generation: whole.GetGeneration(),
		ResourceVersion: strings.Clone(whole.GetResourceVersion())}}
	kept.suspend, _, _ = unstructured.NestedBool(whole.Object, "spec", "suspend")
	apps, _, _ := unstructured.NestedSlice(whole.Object, "spec", "apps")
	for _, one := range apps {
		fields := one.(map[string]interface{})
		kept.apps = append(kept.apps, app{strings.Clone(fields["name"].(string)), strings.Clone(fields["program"].(string))})
	}
	return kept, nil
}

// peak is the most memory that was resident, in KiB; Maxrss would begin with that of who started us.
func peak() (kib int) {
	status, _ := os.ReadFile("/proc/self/status")
	for _, line := range strings.Split(string(status), "\n") {
		if n, _ := fmt.Sscanf(line, "VmHWM: %d", &kib); n == 1 {
			break
		}
	}
	return
}

func report(phase string, objects int, begun time.Time) {
	var used syscall.Rusage
	syscall.Getrusage(syscall.RUSAGE_SELF, &used)
	cpu := float64(used.Utime.Sec+used.Stime.Sec) + float64(used.Utime.Usec+used.Stime.Usec)/1e6
	json.NewEncoder(os.Stdout).Encode(map[string]interface{}{"phase": phase, "objects": objects,
		"cpu_s": cpu, "wall_s": time.Since(begun).Seconds(), "peak_kib": peak()})
}

func main() {
	begun := time.Now()
	config, err := clientcmd.BuildConfigFromFlags("", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	wanted, _ := strconv.Atoi(os.Args[2])
	client := dynamic.NewForConfigOrDie(config).Resource(resource)
	informer := cache.NewSharedIndexInformer(&cache.ListWatch{
		ListFunc: func(o metav1.ListOptions) (runtime.Object, error) { return client.List(context.Background(), o) },
		WatchFunc: func(o metav1.ListOptions) (watch.Interface, error) {
			return client.Watch(context.Background(), o)
		},
	}, &unstructured.Unstructured{}, 0, cache.Indexers{})
	if err := informer.SetTransform(transform); err != nil {
		panic(err)
	}
	seen, done := 0, make(chan struct{})
	registration, _ := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
		UpdateFunc: func(_, _ interface{}) {
			if seen++; seen == wanted {
				close(done)
			}
		}})
	go informer.Run(context.Background().Done())
	for !registration.HasSynced() {
		time.Sleep(time.Millisecond)
	}
	report("synced", len(informer.GetStore().ListKeys()), begun)
	if wanted > 0 {
		<-done
		report("watched", len(informer.GetStore().ListKeys()), begun)
	}
}
