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

// Options say which pods to follow, and how.
type Options struct {
	// Connect makes a client of the core group, as the configuration says at the time.
	Connect      func() (*kubeapi.Client, error)
	Dialects     []Dialect     // one at least
	Namespaces   []string      // all if empty
	NodeName     string        // any if empty
	ShardCount   int           // proxies that share the pods
	ShardIndex   int           // which of them this is
	PollInterval time.Duration // between lists where pods may not be watched
	Logger       *slog.Logger
	Registerer   prometheus.Registerer
}

// Pods follows the pods that match, and knows their targets.
type Pods struct {
	opts    Options
	views   []*view // one for each dialect and namespace, or one for all namespaces
	metrics metrics

	mu       sync.Mutex       // guards snapshot and the views' fields
	snapshot []*target.Target // nil if it must be made anew
}

// New does not connect yet.
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
			views = append(views, &view{all: p, dialect: d, namespace: ns, client: client, pods: map[types.UID]*podTargets{}, currentAt: time.Now()})
		}
		p.views = append(p.views, views...)
		registerStaleness(opts.Registerer, ns, views)
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

// Targets returns the targets of this shard that are known now, in the order of an
// answer. Nobody may change what it returns.
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

// Known returns nil once there can be an answer: the first list is complete of every
// namespace, or of some, and the others may not be listed. Else it returns what Ready does.
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
	return join(errs)
}

// Current returns nil while every change of a pod is told at once, and else why not. What
// Ready returns is no part of it.
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
			errs = append(errs, fmt.Errorf("pods of %s are listed every %s, for they may not be watched: want %s", v, p.opts.PollInterval, v.rule()))
		}
	}
	return join(errs)
}

// join joins errors, but each text once: the views of a namespace often fail alike.
func join(errs []error) error {
	seen := map[string]bool{}
	return errors.Join(slices.DeleteFunc(errs, func(err error) bool {
		text := err.Error()
		defer func() { seen[text] = true }()
		return seen[text]
	})...)
}
