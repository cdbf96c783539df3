package main

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"testing"

	"github.com/canonical/metrics-k8s-proxy/proxy/config"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// fakeSource is a source with fixed targets and errors.
type fakeSource struct {
	targets               []*target.Target
	known, ready, current error
	ran                   chan struct{}
}

func (f *fakeSource) Run(ctx context.Context) {
	close(f.ran)
	<-ctx.Done()
}

func (f *fakeSource) Targets() []*target.Target { return f.targets }
func (f *fakeSource) Known() error              { return f.known }
func (f *fakeSource) Ready() error              { return f.ready }
func (f *fakeSource) Current() error            { return f.current }

func named(namespace, pod string) *target.Target {
	return &target.Target{ID: pod, Namespace: namespace, Pod: pod, Labels: []target.Label{{Name: "pod", Value: pod}}}
}

// TestSources checks that several sources act as one: their targets are in order, the later
// one of two with the same labels is refused, all of them run, and the errors of each are
// reported.
func TestSources(t *testing.T) {
	a, b, c := named("ns1", "a"), named("ns2", "b"), named("ns3", "c")
	same := named("ns4", "a")
	first := &fakeSource{targets: []*target.Target{b, same}, ran: make(chan struct{})}
	second := &fakeSource{targets: []*target.Target{a, c}, ran: make(chan struct{})}
	all := &sources{list: []source{first, second}}

	got := all.Targets()
	if !slices.Equal(got[:3], []*target.Target{a, b, c}) || got[3].Problem == nil || got[3].Problem.Reason != target.Identity {
		t.Errorf("the targets are %v", got)
	}
	if !slices.Equal(first.targets, []*target.Target{b, same}) || same.Problem != nil {
		t.Error("the targets of a source were changed")
	}
	if one := (&sources{list: []source{first}}).Targets(); &one[0] != &first.targets[0] {
		t.Error("the targets of one source were copied")
	}
	if again := all.Targets(); &again[0] != &got[0] {
		t.Error("the targets were merged again although no source has changed")
	}
	second.targets = []*target.Target{c}
	if again := all.Targets(); len(again) != 3 || again[0] != b || again[1] != c {
		t.Errorf("after a change of a source the targets are %v", again)
	}

	for name, get := range map[string]func() error{"Known": all.Known, "Ready": all.Ready, "Current": all.Current} {
		if err := get(); err != nil {
			t.Errorf("%s returns %v", name, err)
		}
	}
	second.known, first.ready, second.current = errors.New("known"), errors.New("ready"), errors.New("current")
	for want, get := range map[string]func() error{"known": all.Known, "ready": all.Ready, "current": all.Current} {
		if err := get(); err == nil || err.Error() != want {
			t.Errorf("got error %v, want %s", err, want)
		}
	}

	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		all.Run(ctx)
		close(ended)
	}()
	<-first.ran
	<-second.ran
	cancel()
	<-ended
}

// TestNoKubernetes checks that, without a selector for pods, neither a kubeconfig nor a
// service account is needed.
func TestNoKubernetes(t *testing.T) {
	t.Setenv("KUBERNETES_SERVICE_HOST", "")
	c, _, err := config.Load([]string{"POD_LABEL_SELECTOR=app=web"})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := newProgram(c, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("with a selector: got no error, want one without a cluster")
	}
	c.Discovery.PodLabelSelector = ""
	p, err := newProgram(c, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	if len(p.sources.list) != 0 || p.sources.Ready() != nil || len(p.sources.Targets()) != 0 {
		t.Errorf("the sources are %v", p.sources.list)
	}
}
