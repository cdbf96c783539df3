package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// Options say which pods to follow, and how.
type Options struct {
	API          *rest.Config
	Selector     string        // a Kubernetes label selector
	Namespaces   []string      // all if empty
	NodeName     string        // any if empty
	Labels       []LabelRule   // of each target, in order
	PollInterval time.Duration // between lists where pods may not be watched
	Logger       *slog.Logger
	Registerer   prometheus.Registerer
}

// Pods follows the pods that match, and knows their targets.
type Pods struct {
	opts    Options
	client  rest.Interface
	views   []*view // one for each namespace followed, or one for all
	metrics metrics

	mu       sync.Mutex       // guards snapshot and the views' fields
	snapshot []*target.Target // nil if it must be made anew
}

// New makes the client. It does not connect yet.
func New(opts Options) (*Pods, error) {
	client, err := newClient(opts.API)
	if err != nil {
		return nil, err
	}
	p := &Pods{opts: opts, client: client, metrics: newMetrics(opts.Registerer)}
	namespaces := slices.Sorted(slices.Values(opts.Namespaces))
	if len(namespaces) == 0 {
		namespaces = []string{corev1.NamespaceAll}
	}
	for _, ns := range slices.Compact(namespaces) {
		p.views = append(p.views, &view{pods: p, namespace: ns, targets: map[types.UID][]*target.Target{}})
	}
	return p, nil
}

// Run follows the pods until ctx ends.
func (p *Pods) Run(ctx context.Context) {
	// The reflector's own log is left out: what matters of it is logged here.
	ctx = klog.NewContext(ctx, logr.Discard())
	var wg sync.WaitGroup
	for _, v := range p.views {
		wg.Go(func() { v.follow(ctx) })
	}
	wg.Wait()
}

// Targets returns the targets known now, in the order of an answer. Nobody may
// change what it returns.
func (p *Pods) Targets() []*target.Target {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.snapshot == nil {
		all := []*target.Target{}
		for _, v := range p.views {
			for _, targets := range v.targets {
				all = append(all, targets...)
			}
		}
		p.snapshot = ordered(all)
	}
	return p.snapshot
}

// Ready returns nil once the first list of every namespace is complete, and else
// why it is not.
func (p *Pods) Ready() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, v := range p.views {
		if !v.isSynced {
			err := v.err
			if err == nil {
				err = errors.New("no answer from the API server yet")
			}
			errs = append(errs, fmt.Errorf("pods of %s are not known yet: %w", v, err))
		}
	}
	return errors.Join(errs...)
}
