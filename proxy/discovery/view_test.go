package discovery

import (
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
)

func newPods(t *testing.T, change func(*Options)) *Pods {
	t.Helper()
	opts := Options{
		API:          &rest.Config{Host: "http://127.0.0.1:1"},
		Selector:     "app=web",
		Labels:       []LabelRule{{Name: "pod", Source: "pod"}},
		PollInterval: time.Minute,
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

func wantTargets(t *testing.T, p *Pods, want ...string) {
	t.Helper()
	var got []string
	for _, target := range p.Targets() {
		got = append(got, target.Pod+" "+target.URL)
	}
	if !slices.Equal(got, want) {
		t.Errorf("targets are %q, want %q", got, want)
	}
}

func TestViewAsStore(t *testing.T) {
	p := newPods(t, nil)
	v := p.views[0]
	if p.Ready() == nil || p.Targets() == nil {
		t.Errorf("before the first list: ready is %v, targets %v, want none but not nil", p.Ready(), p.Targets())
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

	// The last state of a pod that is gone may be any.
	must(t, v.Delete(newPod("b", nil)))
	wantTargets(t, p)

	// A pod of the same name is another pod: that the old one is gone is no news of it.
	reborn := newPod("b", nil)
	reborn.UID = "another"
	must(t, v.Add(reborn))
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
		if err == nil || !strings.Contains(err.Error(), "cannot use a *v1.Node: want a pod") {
			t.Errorf("%s of a node: %v", name, err)
		}
	}
	if v.isSynced {
		t.Error("a list that cannot be used counts as complete")
	}
}

// TestReplaceIsWholeOrNothing wants a list that cannot be used to change nothing.
func TestReplaceIsWholeOrNothing(t *testing.T) {
	p := newPods(t, nil)
	v := p.views[0]
	must(t, v.Replace([]any{newPod("a", nil)}, "1"))
	before := p.Targets()
	if err := v.Replace([]any{newPod("b", nil), &corev1.Node{}}, "2"); err == nil {
		t.Error("a list with a node in it is taken")
	}
	wantTargets(t, p, "a http://10.0.0.1:80/metrics")
	if after := p.Targets(); &after[0] != &before[0] {
		t.Error("the snapshot was made anew although nothing changed")
	}
}

// TestTargetsAreMadeWithoutTheLock has changes meet a lock that is taken. That a
// target cannot be made of no pod at all is found before they wait for it.
func TestTargetsAreMadeWithoutTheLock(t *testing.T) {
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
			t.Errorf("%s waits for the lock before it makes targets", name)
		}
	}
}

// TestSnapshotIsImmutable wants a snapshot that somebody holds to stay as it is,
// and to be made anew only after a change.
func TestSnapshotIsImmutable(t *testing.T) {
	p := newPods(t, nil)
	v := p.views[0]
	must(t, v.Replace([]any{newPod("a", nil), newPod("b", nil)}, "1"))
	before := p.Targets()
	if again := p.Targets(); &again[0] != &before[0] {
		t.Error("the snapshot was made anew although nothing changed")
	}
	copied := slices.Clone(before)
	values := []string{before[0].URL, before[1].URL}
	must(t, v.Add(newPod("0", nil)))
	must(t, v.Update(newPod("a", map[string]string{portAnnotation: "81"})))
	must(t, v.Delete(newPod("b", nil)))
	if p.Targets()[0].Pod != "0" {
		t.Error("the new snapshot does not hold the changes")
	}
	must(t, v.Replace(nil, "2"))
	if !slices.Equal(before, copied) || before[0].URL != values[0] || before[1].URL != values[1] {
		t.Errorf("the earlier snapshot changed to %s", summary(before))
	}
}

// TestNamespaces wants a view of each namespace, and Ready to wait for all and to
// name those that are missing.
func TestNamespaces(t *testing.T) {
	p := newPods(t, func(o *Options) { o.Namespaces = []string{"b", "a", "b"} })
	if len(p.views) != 2 || p.views[0].namespace != "a" || p.views[1].namespace != "b" {
		t.Fatalf("views are %v, want one for each of a and b", p.views)
	}
	err := p.Ready()
	for _, want := range []string{"namespace a", "namespace b", "no answer from the API server yet"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("Ready is %v, want it to say %q", err, want)
		}
	}
	must(t, p.views[0].Replace([]any{newPod("x", nil)}, "1"))
	if err := p.Ready(); err == nil || strings.Contains(err.Error(), "namespace a") || !strings.Contains(err.Error(), "namespace b") {
		t.Errorf("Ready is %v, want it to wait for b only", err)
	}
	must(t, p.views[1].Replace([]any{newPod("y", nil)}, "1"))
	if err := p.Ready(); err != nil {
		t.Errorf("Ready is %v", err)
	}
	wantTargets(t, p, "x http://10.0.0.1:80/metrics", "y http://10.0.0.1:80/metrics")
}

// TestNewKeepsOptions wants what the caller handed over to stay as it was.
func TestNewKeepsOptions(t *testing.T) {
	namespaces := []string{"b", "a"}
	newPods(t, func(o *Options) { o.Namespaces = namespaces })
	if !slices.Equal(namespaces, []string{"b", "a"}) {
		t.Errorf("the caller's namespaces became %q", namespaces)
	}
}
