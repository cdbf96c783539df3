package discovery

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"reflect"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
)

func newPods(t *testing.T, change func(*Options)) *Pods {
	t.Helper()
	opts := Options{
		Connect:      connect(&rest.Config{Host: "http://127.0.0.1:1"}),
		Dialects:     []Dialect{Annotations("app=web", []LabelRule{{Name: "pod", Source: "pod"}})},
		PollInterval: time.Minute,
		ShardCount:   1,
		Lookup:       func(context.Context, string, string) ([]netip.Addr, error) { return nil, nil },
		Logger:       slog.New(slog.DiscardHandler),
		Registerer:   prometheus.NewRegistry(),
	}
	if change != nil {
		change(&opts)
	}
	p, err := New(opts)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// sleepUntilReady sleeps until the pods of a fake API server have been listed.
func sleepUntilReady(t *testing.T, p *Pods) {
	t.Helper()
	time.Sleep(time.Minute)
	synctest.Wait()
	must(t, p.Ready())
}

func wantTargets(t *testing.T, p *Pods, want ...string) {
	t.Helper()
	var got []string
	for _, target := range p.Targets() {
		got = append(got, target.Pod+" "+target.URL)
	}
	if !slices.Equal(got, want) {
		t.Errorf("got targets %q, want %q", got, want)
	}
}

func TestViewAsStore(t *testing.T) {
	p := newPods(t, nil)
	v := p.views[0]
	if p.Ready() == nil || p.Targets() == nil {
		t.Errorf("before the first list: Ready returned %v, Targets %v, want an error and an empty list that is not nil", p.Ready(), p.Targets())
	}
	must(t, v.Replace([]any{newPod("b", nil), newPod("a", nil), newPod("done", map[string]string{scrapeAnnotation: "false"})}, "1"))
	if err := p.Ready(); err != nil {
		t.Errorf("after the first list: %v", err)
	}
	wantTargets(t, p, "a http://10.0.0.1:80/metrics", "b http://10.0.0.1:80/metrics")

	must(t, v.Add(newPod("c", nil)))
	wantTargets(t, p, "a http://10.0.0.1:80/metrics", "b http://10.0.0.1:80/metrics", "c http://10.0.0.1:80/metrics")

	must(t, v.Update(newPod("b", map[string]string{portAnnotation: "81,82"})))
	wantTargets(t, p, "a http://10.0.0.1:80/metrics", "b http://10.0.0.1:81/metrics", "b http://10.0.0.1:82/metrics", "c http://10.0.0.1:80/metrics")

	must(t, v.Update(newPod("a", map[string]string{scrapeAnnotation: "false"})))
	wantTargets(t, p, "b http://10.0.0.1:81/metrics", "b http://10.0.0.1:82/metrics", "c http://10.0.0.1:80/metrics")

	completed := newPod("c", nil)
	completed.Status.Phase = corev1.PodSucceeded
	must(t, v.Update(completed))
	wantTargets(t, p, "b http://10.0.0.1:81/metrics", "b http://10.0.0.1:82/metrics")

	// The last state of a deleted pod does not matter.
	must(t, v.Delete(newPod("b", nil)))
	wantTargets(t, p)

	// A pod with the same name is a different pod, which the deletion of the old one does not
	// affect.
	recreated := newPod("b", nil)
	recreated.UID = "another"
	must(t, v.Add(recreated))
	must(t, v.Delete(newPod("b", nil)))
	wantTargets(t, p, "b http://10.0.0.1:80/metrics")

	must(t, v.Replace([]any{newPod("z", nil)}, "2"))
	wantTargets(t, p, "z http://10.0.0.1:80/metrics")
	must(t, v.Resync())
	must(t, v.Replace(nil, "3"))
	wantTargets(t, p)
	if err := p.Ready(); err != nil {
		t.Errorf("after an empty list: %v", err)
	}
}

func TestViewRefusesOtherObjects(t *testing.T) {
	v := newPods(t, nil).views[0]
	for name, err := range map[string]error{
		"Add": v.Add(&corev1.Node{}), "Update": v.Update(&corev1.Node{}), "Delete": v.Delete(&corev1.Node{}), "Replace": v.Replace([]any{&corev1.Node{}}, "1"),
	} {
		if err == nil || !strings.Contains(err.Error(), "cannot use a *v1.Node: expected a pod") {
			t.Errorf("%s of a node: %v", name, err)
		}
	}
	if v.isSynced {
		t.Error("an invalid list counts as complete")
	}
}

// TestReplaceIsAtomic checks that an invalid list changes nothing.
func TestReplaceIsAtomic(t *testing.T) {
	p := newPods(t, nil)
	v := p.views[0]
	must(t, v.Replace([]any{newPod("a", nil)}, "1"))
	before := p.Targets()
	if err := v.Replace([]any{newPod("b", nil), &corev1.Node{}}, "2"); err == nil {
		t.Error("a list with a node was accepted")
	}
	wantTargets(t, p, "a http://10.0.0.1:80/metrics")
	if after := p.Targets(); &after[0] != &before[0] {
		t.Error("the snapshot was rebuilt although nothing changed")
	}
}

// TestTargetsAreBuiltWithoutTheLock makes changes while the lock is held. A nil pod causes a
// panic when its targets are built, which must happen before the wait for the lock.
func TestTargetsAreBuiltWithoutTheLock(t *testing.T) {
	p := newPods(t, nil)
	v := p.views[0]
	var noPod *corev1.Pod
	for name, change := range map[string]func() error{
		"Add": func() error { return v.Add(noPod) }, "Update": func() error { return v.Update(noPod) }, "Replace": func() error { return v.Replace([]any{noPod}, "1") },
	} {
		p.mu.Lock()
		panicked := make(chan any, 1)
		go func() {
			defer func() { panicked <- recover() }()
			_ = change()
		}()
		select {
		case <-panicked:
			p.mu.Unlock()
		case <-time.After(time.Minute):
			p.mu.Unlock()
			t.Errorf("%s waits for the lock before it builds targets", name)
		}
	}
}

// TestSnapshotIsImmutable checks that a snapshot never changes, and that it is rebuilt only
// after a change.
func TestSnapshotIsImmutable(t *testing.T) {
	p := newPods(t, nil)
	v := p.views[0]
	must(t, v.Replace([]any{newPod("a", nil), newPod("b", nil)}, "1"))
	before := p.Targets()
	if again := p.Targets(); &again[0] != &before[0] {
		t.Error("the snapshot was rebuilt although nothing changed")
	}
	copied := slices.Clone(before)
	values := []string{before[0].URL, before[1].URL}
	must(t, v.Add(newPod("0", nil)))
	must(t, v.Update(newPod("a", map[string]string{portAnnotation: "81"})))
	must(t, v.Delete(newPod("b", nil)))
	if p.Targets()[0].Pod != "0" {
		t.Error("the new snapshot does not contain the changes")
	}
	must(t, v.Replace(nil, "2"))
	if !slices.Equal(before, copied) || before[0].URL != values[0] || before[1].URL != values[1] {
		t.Errorf("the earlier snapshot changed to %s", summary(before))
	}
}

// TestNamespaces checks that there is one view for each namespace, and that Ready waits for
// all of them and names those that are missing.
func TestNamespaces(t *testing.T) {
	p := newPods(t, func(o *Options) { o.Namespaces = []string{"b", "a", "b"} })
	if len(p.views) != 2 || p.views[0].namespace != "a" || p.views[1].namespace != "b" {
		t.Fatalf("got views %v, want one for each of a and b", p.views)
	}
	err := p.Ready()
	for _, want := range []string{"namespace a", "namespace b", "no answer from the API server yet"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Ready returned %v, want it to contain %q", err, want)
		}
	}
	must(t, p.views[0].Replace([]any{newPod("x", nil)}, "1"))
	if err := p.Ready(); err == nil || strings.Contains(err.Error(), "namespace a") || !strings.Contains(err.Error(), "namespace b") {
		t.Errorf("Ready returned %v, want it to wait for b only", err)
	}
	must(t, p.views[1].Replace([]any{newPod("y", nil)}, "1"))
	if err := p.Ready(); err != nil {
		t.Errorf("Ready returned %v", err)
	}
	wantTargets(t, p, "x http://10.0.0.1:80/metrics", "y http://10.0.0.1:80/metrics")
}

// TestNewKeepsOptions checks that New does not modify the options of the caller.
func TestNewKeepsOptions(t *testing.T) {
	namespaces := []string{"b", "a"}
	newPods(t, func(o *Options) { o.Namespaces = namespaces })
	if !slices.Equal(namespaces, []string{"b", "a"}) {
		t.Errorf("the caller's namespaces became %q", namespaces)
	}
}

// TestSlimPods checks that the targets of a pod are the same after all fields that are not
// needed have been dropped.
func TestSlimPods(t *testing.T) {
	rules := []LabelRule{
		{"pod", "pod", ""}, {"ns", "namespace", ""}, {"ip", "ip", ""}, {"node", "node", ""}, {"uid", "uid", ""},
		{"container", "container", ""}, {"app", "label", "app"}, {"team", "annotation", "team"}, {"none", "label", "none"},
	}
	v := newPods(t, func(o *Options) { o.Dialects = []Dialect{Annotations("app=web", rules)} }).views[0]
	for name, change := range map[string]func(*corev1.Pod){
		"unchanged":    func(*corev1.Pod) {},
		"terminating":  func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{Time: time.Now()} },
		"no address":   func(p *corev1.Pod) { p.Status.PodIP = "" },
		"failed":       func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed },
		"host network": func(p *corev1.Pod) { p.Spec.HostNetwork = true },
		"bad port":     func(p *corev1.Pod) { p.Annotations[portAnnotation] = "x" },
		"path and scheme": func(p *corev1.Pod) {
			p.Annotations[pathAnnotation], p.Annotations[schemeAnnotation] = "/x?y=1", "https"
		},
	} {
		pod := newPod("a", map[string]string{portAnnotation: "81,82", "team": "x", "more": strings.Repeat("y", 1000)})
		pod.Labels = map[string]string{"app": "web", "more": "z"}
		pod.Spec.NodeName = "node-1"
		pod.Spec.Containers = []corev1.Container{{Name: "main", Image: "x", Ports: []corev1.ContainerPort{{ContainerPort: 81}}}}
		pod.Spec.InitContainers = []corev1.Container{{Name: "sidecar", Ports: []corev1.ContainerPort{{ContainerPort: 82}}}}
		change(pod)
		slim, err := v.Transformer()(pod)
		must(t, err)
		if got, want := v.targetsOf(slim.(*corev1.Pod)), v.targetsOf(pod); !reflect.DeepEqual(got, want) {
			t.Errorf("%s: targets of the slim pod are %+v, want %+v", name, got, want)
		}
		if size := slim.(*corev1.Pod).Size(); size > 600 {
			t.Errorf("%s: the slim pod takes %d bytes", name, size)
		}
	}
	if _, err := v.Transformer()(&corev1.Node{}); err == nil {
		t.Error("a node was accepted")
	}
}

// TestReusedAddress checks that a terminating pod is not scraped once another pod has its
// address, unless both have the address of their node.
func TestReusedAddress(t *testing.T) {
	for name, test := range map[string]struct {
		change func(old, young *corev1.Pod)
		want   []string
	}{
		"terminating":       {func(old, _ *corev1.Pod) {}, []string{"young http://10.0.0.1:80/metrics"}},
		"not terminating":   {func(old, _ *corev1.Pod) { old.DeletionTimestamp = nil }, []string{"old http://10.0.0.1:80/metrics", "young http://10.0.0.1:80/metrics"}},
		"both terminating":  {func(_, young *corev1.Pod) { young.DeletionTimestamp = &metav1.Time{} }, []string{"old http://10.0.0.1:80/metrics", "young http://10.0.0.1:80/metrics"}},
		"another address":   {func(_, young *corev1.Pod) { young.Status.PodIP = "10.0.0.2" }, []string{"old http://10.0.0.1:80/metrics", "young http://10.0.0.2:80/metrics"}},
		"young on the host": {func(_, young *corev1.Pod) { young.Spec.HostNetwork = true }, []string{"old http://10.0.0.1:80/metrics", "young http://10.0.0.1:80/metrics"}},
		"both on the host":  {func(old, young *corev1.Pod) { old.Spec.HostNetwork, young.Spec.HostNetwork = true, true }, []string{"old http://10.0.0.1:80/metrics", "young http://10.0.0.1:80/metrics"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPods(t, nil)
			old, young := newPod("old", nil), newPod("young", nil)
			old.DeletionTimestamp = &metav1.Time{}
			test.change(old, young)
			must(t, p.views[0].Replace([]any{old, young}, "1"))
			wantTargets(t, p, test.want...)
		})
	}
}

// TestShards checks that the shards have about the same number of pods, and that the only
// pods that move when a shard is added are those that move to it.
func TestShards(t *testing.T) {
	const pods = 10_000
	for shards := 1; shards < 12; shards++ {
		counts, moved := make([]int, shards+1), 0
		for i := range pods {
			uid := fmt.Sprintf("8c1a6f2e-%04d-4c5e-9b5e-2a4e6f0d9c11", i)
			before, after := shardOf(uid, shards), shardOf(uid, shards+1)
			counts[after]++
			if before != after {
				moved++
				if after != shards {
					t.Errorf("a pod moved from shard %d to shard %d", before, after)
				}
			}
		}
		mean := pods / (shards + 1)
		for shard, n := range counts {
			if n < mean*85/100 || n > mean*115/100 {
				t.Errorf("%d of %d pods are in shard %d of %d, want about the mean", n, pods, shard, shards+1)
			}
		}
		if moved < mean*85/100 || moved > mean*115/100 {
			t.Errorf("%d of %d pods moved from %d to %d shards, want about %d", moved, pods, shards, shards+1, mean)
		}
	}
	// The shard must be the same in all versions of the program, because replicas are updated
	// one by one.
	if got := shardOf("8c1a6f2e-0000-4c5e-9b5e-2a4e6f0d9c11", 1000); got != 527 {
		t.Errorf("got shard %d, want 527", got)
	}
}

func TestTargetsOfShard(t *testing.T) {
	var all []any
	for i := range 20 {
		all = append(all, newPod(fmt.Sprint("pod-", i), nil))
	}
	seen := map[string]int{}
	for shard := range 3 {
		p := newPods(t, func(o *Options) { o.ShardCount, o.ShardIndex = 3, shard })
		must(t, p.views[0].Replace(all, "1"))
		for _, target := range p.Targets() {
			seen[target.Pod]++
		}
	}
	if len(seen) != 20 {
		t.Errorf("%d of 20 pods are in a shard, want all", len(seen))
	}
	for pod, n := range seen {
		if n != 1 {
			t.Errorf("%s is in %d shards, want 1", pod, n)
		}
	}
}
