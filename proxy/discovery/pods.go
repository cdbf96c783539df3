package discovery

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/klog/v2"

	"github.com/canonical/metrics-k8s-proxy/proxy/kubeapi"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// Options configure which pods are discovered, and how.
type Options struct {
	// Connect creates a client for the core group from the current configuration. It is
	// called again after failures, also concurrently.
	Connect      func() (*kubeapi.Client, error)
	Dialects     []Dialect     // at least one
	Namespaces   []string      // all if empty
	NodeName     string        // all nodes if empty
	ShardCount   int           // number of proxies that share the pods
	ShardIndex   int           // index of this proxy among them
	PollInterval time.Duration // between lists if pods cannot be watched

	AllowReserved bool           // scrape pods at reserved addresses too
	Lookup        kubeapi.Lookup // resolves the name of the API server; not used with AllowReserved

	Logger     *slog.Logger
	Registerer prometheus.Registerer
}

// Pods discovers the targets of the pods that match. Safe for concurrent use.
type Pods struct {
	opts    Options
	views   []*view // one per dialect and namespace, or one per dialect for all namespaces
	metrics metrics

	mu       sync.Mutex       // guards snapshot and the views' fields
	snapshot []*target.Target // nil if it must be rebuilt
}

// New creates a Pods and registers its metrics. It does not connect. It returns the error of
// Options.Connect, if any.
func New(opts Options) (*Pods, error) {
	client, err := opts.Connect()
	if err != nil {
		return nil, err
	}
	p := &Pods{opts: opts, metrics: newMetrics(opts.Registerer)}
	namespaces := slices.Sorted(slices.Values(opts.Namespaces))
	if len(namespaces) == 0 {
		namespaces = []string{corev1.NamespaceAll}
	}
	for _, ns := range slices.Compact(namespaces) {
		var views []*view
		for _, d := range opts.Dialects {
			views = append(views, &view{all: p, dialect: d, namespace: ns, client: client, page: maxPage, pods: map[types.UID]*podTargets{}, currentAt: time.Now()})
		}
		p.views = append(p.views, views...)
		registerStaleness(opts.Registerer, ns, views)
	}
	return p, nil
}

// Run lists and watches the pods until ctx ends.
func (p *Pods) Run(ctx context.Context) {
	// The log of the reflector is discarded: this package logs its failures.
	ctx = klog.NewContext(ctx, logr.Discard())
	var wg sync.WaitGroup
	for _, v := range p.views {
		wg.Go(func() { v.run(ctx) })
	}
	wg.Wait()
}

// Targets returns the current targets of this shard, in the order of the merged exposition.
// The caller must not modify the slice or the targets.
func (p *Pods) Targets() []*target.Target {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.snapshot == nil {
		var pods []*podTargets
		for _, v := range p.views {
			pods = slices.AppendSeq(pods, maps.Values(v.pods))
		}
		p.snapshot = slices.DeleteFunc(target.Distinct(current(pods)), func(t *target.Target) bool { return t.Shard != p.opts.ShardIndex })
	}
	return p.snapshot
}

// Known returns nil once the targets can be scraped: the first list of at least one namespace
// is complete, and each of the others is complete or forbidden. Otherwise it returns the same
// error as Ready.
func (p *Pods) Known() error {
	err := p.Ready()
	p.mu.Lock()
	defer p.mu.Unlock()
	isAny := false
	for _, v := range p.views {
		if !v.isSynced && !v.isForbidden {
			return err
		}
		isAny = isAny || v.isSynced
	}
	if !isAny {
		return err
	}
	return nil
}

// Ready returns nil once the first list of every namespace is complete, otherwise an error
// with one line for each namespace whose list is not, of which there are at most maxJoined.
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
	return join(errs)
}

// Current returns nil while changes of pods are detected immediately, otherwise an error
// with one line for each namespace where they are not. It does not include errors that
// Ready returns.
func (p *Pods) Current() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	var errs []error
	for _, v := range p.views {
		switch {
		case !v.isSynced:
		case v.err != nil:
			errs = append(errs, fmt.Errorf("pods of %s may be out of date: %w", v, v.err))
		case v.isPolled:
			errs = append(errs, fmt.Errorf("pods of %s are listed every %s because they may not be watched: expected %s", v, p.opts.PollInterval, v.missingRule()))
		}
	}
	return join(errs)
}
