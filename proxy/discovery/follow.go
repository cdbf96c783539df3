package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
	"unicode"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
	"k8s.io/utils/clock"

	"github.com/canonical/metrics-k8s-proxy/proxy/kubeapi"
)

// follow keeps the view up to date until ctx ends: a list, then a watch for as
// long as it lasts, and again. Where the watch is forbidden the next list comes
// after PollInterval. Failures are tried again with growing delays, and with what the
// configuration says by then: a token may have another value.
func (v *view) follow(ctx context.Context) {
	r := cache.NewReflectorWithOptions(v.listWatch(ctx), &corev1.Pod{}, v, cache.ReflectorOptions{
		Name: "pods", Backoff: new(newBackoff()), Clock: impatientClock{done: ctx.Done()},
	})
	backoff := newBackoff()
	for ctx.Err() == nil {
		err := r.ListAndWatchWithContext(ctx)
		if ctx.Err() != nil {
			return
		}
		delay := v.all.opts.PollInterval
		switch {
		case apierrors.IsForbidden(err) && v.lastError() == nil:
			if v.beginPolling() {
				v.all.opts.Logger.Warn("cannot watch pods, so they are listed again and again", "pods_of", v.String(), "interval", delay, "err", err)
			}
			backoff = newBackoff()
		case err == nil:
			backoff = newBackoff()
			delay = backoff.Step()
		default:
			delay = backoff.Step()
			v.renewClient()
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
	}
}

// impatientClock waits no longer than until done is closed. Where a watch cannot begin
// the reflector waits without a look at its context.
type impatientClock struct {
	clock.RealClock
	done <-chan struct{}
}

// After waits for d.
func (c impatientClock) After(d time.Duration) <-chan time.Time {
	after := make(chan time.Time, 1)
	go func() {
		select {
		case <-c.done:
		case <-time.After(d):
		}
		after <- time.Now()
	}()
	return after
}

// renewClient makes a client of what the configuration says now. The one before stays if
// it says nothing that can be used.
func (v *view) renewClient() {
	client, err := v.all.opts.Connect()
	if err != nil {
		v.all.opts.Logger.Warn("cannot read how to reach the API server, so it is reached as before", "err", err)
		return
	}
	v.client = client
}

// newBackoff gives 0.5 s and, after some failures, 10 s, each up to half longer.
func newBackoff() wait.Backoff {
	return wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 6, Cap: 10 * time.Second}
}

// pageSize is how many pods are listed at a time. Whole pods are in memory only for as
// long as a page is taken in.
const pageSize = 250

// listWatch asks the API server for the view's pods until ctx ends, and notes what it
// answers by then. The reflector's own context of a list has no end.
func (v *view) listWatch(ctx context.Context) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(_ context.Context, o metav1.ListOptions) (runtime.Object, error) {
			// From its cache the API server lists all at once, and maybe what was.
			o.ResourceVersion, o.ResourceVersionMatch, o.Limit = "", "", pageSize
			var list corev1.PodList
			err := v.request(o).Do(ctx).Into(&list)
			if err == nil && list.ResourceVersion == "" {
				err = fmt.Errorf("cannot use the list of pods from %s: it has no resourceVersion, so it is not an API server's", v.client.Host)
			}
			if ctx.Err() == nil {
				v.note("list", err)
			}
			for i := range list.Items {
				list.Items[i] = *v.slim(&list.Items[i])
			}
			return &list, err
		},
		WatchFuncWithContext: func(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.Watch = true
			w, err := kubeapi.Watch(ctx, v.request(o))
			if ctx.Err() == nil {
				v.note("watch", err)
			}
			if err != nil {
				return nil, err
			}
			return v.opened(w, o.SendInitialEvents == nil), nil
		},
	}
}

// request asks for the view's pods, once: follow tries again, and says so.
func (v *view) request(o metav1.ListOptions) *rest.Request {
	o.LabelSelector = v.dialect.selector
	if node := v.all.opts.NodeName; node != "" {
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", node).String()
	}
	return v.client.Get().MaxRetries(0).Namespace(v.namespace).Resource("pods").VersionedParams(&o, metav1.ParameterCodec)
}

// note counts a request to the API server, keeps its failure, and logs it if it is news.
// That watching is forbidden is no failure, since follow polls, nor that a watch cannot
// begin with a list, which older API servers call invalid: the reflector lists then.
// An answer makes up for a failure when it is taken in: see Replace and opened.
func (v *view) note(verb string, err error) {
	outcome := "ok"
	if err != nil {
		outcome = "error"
	}
	v.all.metrics.requests.WithLabelValues(verb, outcome).Inc()
	if err == nil || verb == "watch" && (apierrors.IsForbidden(err) || apierrors.IsInvalid(err)) {
		return
	}
	isForbidden := apierrors.IsForbidden(err)
	if isForbidden {
		err = fmt.Errorf("%w: want %s", err, v.rule())
	}
	if sent := (*url.Error)(nil); errors.As(err, &sent) { // without the URL, in which a number changes each time
		err = fmt.Errorf("cannot reach the API server at %s: %w", v.client.Host, sent.Err)
	}
	v.all.mu.Lock()
	v.err, v.isForbidden = err, v.isForbidden || isForbidden
	isNews := v.isNews(err)
	v.all.mu.Unlock()
	if isNews {
		v.all.opts.Logger.Error("cannot follow pods", "verb", verb, "pods_of", v.String(), "err", err)
	}
}

// mostLogged is how many failures a view remembers to have logged.
const mostLogged = 20

// isNews says whether a failure has not been logged since the pods were followed last.
// Numbers make no difference: each connection is from another port. all.mu is held.
func (v *view) isNews(err error) bool {
	kind := strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return -1
		}
		return r
	}, err.Error())
	if slices.Contains(v.logged, kind) {
		return false
	}
	v.logged = append(v.logged, kind)
	v.logged = v.logged[max(0, len(v.logged)-mostLogged):]
	return true
}

// followsAgain takes note that the pods are followed, and logs it if that had failed.
// all.mu is held.
func (v *view) followsAgain() {
	if len(v.logged) > 0 {
		v.logged = nil
		v.all.opts.Logger.Info("the API server tells of pods again", "pods_of", v.String())
	}
}

// rule is what this process must be allowed, to follow the view's pods.
func (v *view) rule() string {
	const rule = ` with the rule apiGroups: [""], resources: ["pods"], verbs: ["list", "watch"], bound to it`
	if v.namespace == corev1.NamespaceAll {
		return "a ClusterRole" + rule
	}
	return "a Role in " + v.String() + rule
}

// beginPolling notes that the pods may be listed but not watched, and says whether that is
// new.
func (v *view) beginPolling() bool {
	v.all.mu.Lock()
	defer v.all.mu.Unlock()
	isNew := !v.isPolled
	v.isPolled = true
	return isNew
}

func (v *view) lastError() error {
	v.all.mu.Lock()
	defer v.all.mu.Unlock()
	return v.err
}
