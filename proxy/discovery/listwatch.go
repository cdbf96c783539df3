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

// run keeps the view up to date until ctx ends. It lists the pods and then watches them; when
// the watch ends, it starts again. If watching is forbidden, it lists the pods again after
// PollInterval. It retries failures with increasing delays.
func (v *view) run(ctx context.Context) {
	r := cache.NewReflectorWithOptions(v.listWatch(ctx), &corev1.Pod{}, v, cache.ReflectorOptions{
		Name: "pods", Backoff: new(newBackoff()), Clock: cancelableClock{done: ctx.Done()},
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
			if v.startPolling() {
				v.all.opts.Logger.Warn("cannot watch pods, listing them periodically instead", "pods_of", v.String(), "interval", delay, "err", shorten(err))
			}
			backoff = newBackoff()
		case err == nil:
			backoff = newBackoff()
			delay = backoff.Step()
		default:
			delay = backoff.Step()
		}
		select {
		case <-ctx.Done():
		case <-time.After(delay):
		}
	}
}

// cancelableClock is a clock whose After also fires when done is closed. The reflector
// ignores its context while it waits to retry a watch.
type cancelableClock struct {
	clock.RealClock
	done <-chan struct{}
}

// After returns a channel that receives after d, or when done is closed.
func (c cancelableClock) After(d time.Duration) <-chan time.Time {
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

// renewClient creates a client from the current configuration if the last request failed,
// because a token may have changed. If the configuration cannot be used, the view keeps its
// previous client.
func (v *view) renewClient() {
	v.all.mu.Lock()
	hasFailed := v.hasFailed
	v.hasFailed = false
	v.all.mu.Unlock()
	if !hasFailed {
		return
	}
	client, err := v.all.opts.Connect()
	if err == nil {
		v.client = client
		return
	}
	v.all.mu.Lock()
	isNew := v.isNew(err)
	v.all.mu.Unlock()
	if isNew {
		v.all.opts.Logger.Warn("cannot reload the configuration of the API server client, keeping the previous one", "err", err)
	}
}

// newBackoff returns delays that grow from 0.5 s to 10 s, plus a jitter of up to 50 %.
func newBackoff() wait.Backoff {
	return wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 6, Cap: 10 * time.Second}
}

// maxPage is the maximum number of pods, and maxPageBytes of bytes, of one page of a list.
// Whole pods are in memory only while their page is processed. They take up to 20 times as
// much memory as they take in a response.
const (
	maxPage      = 250
	maxPageBytes = 2 << 20
)

// listPage lists one page of pods. If the page is too large, it is halved until it fits or
// has one pod, which the API server bounds. It grows again while pages are small.
func (v *view) listPage(ctx context.Context, o metav1.ListOptions, page *corev1.PodList) error {
	for {
		o.Limit = v.page
		limit := int64(maxPageBytes)
		if v.page == 1 {
			limit = 0
		}
		size, err := kubeapi.List(ctx, v.request(o), limit, page)
		switch {
		case errors.Is(err, kubeapi.ErrTooLarge):
			v.page /= 2
			continue
		case size < maxPageBytes/2 && err == nil:
			v.page = min(2*v.page, maxPage)
		}
		return err
	}
}

// listWatch lists and watches the view's pods until ctx ends, and records the results up to
// then. It uses ctx because the context that the reflector passes for a list never ends.
func (v *view) listWatch(ctx context.Context) *cache.ListWatch {
	return &cache.ListWatch{
		ListWithContextFunc: func(_ context.Context, o metav1.ListOptions) (runtime.Object, error) {
			// A list from the cache of the API server is not paginated, and may be outdated.
			o.ResourceVersion, o.ResourceVersionMatch = "", ""
			v.renewClient()
			if o.Continue == "" {
				v.resolve(ctx)
			}
			var list corev1.PodList
			err := v.listPage(ctx, o, &list)
			if err == nil && list.ResourceVersion == "" {
				err = fmt.Errorf("cannot use the list of pods from %s: it has no resourceVersion, so it is not from an API server", v.client.Host)
			}
			if ctx.Err() == nil {
				v.record("list", err)
			}
			for i := range list.Items {
				list.Items[i] = *v.slim(&list.Items[i])
			}
			return &list, err
		},
		WatchFuncWithContext: func(_ context.Context, o metav1.ListOptions) (watch.Interface, error) {
			o.Watch = true
			v.renewClient()
			v.resolve(ctx)
			w, err := kubeapi.Watch(ctx, v.request(o))
			if ctx.Err() == nil {
				v.record("watch", err)
			}
			if err != nil {
				return nil, err
			}
			return v.watchOpened(w, o.SendInitialEvents == nil), nil
		},
	}
}

// request returns a request for the view's pods. It is not retried: run retries and logs
// failures.
func (v *view) request(o metav1.ListOptions) *rest.Request {
	o.LabelSelector = v.dialect.selector
	if node := v.all.opts.NodeName; node != "" {
		o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", node).String()
	}
	return v.client.Get().MaxRetries(0).Namespace(v.namespace).Resource("pods").VersionedParams(&o, metav1.ParameterCodec)
}

// record counts a request to the API server, and stores and logs its failure. Two errors
// are not failures: a forbidden watch, because run polls in that case, and an invalid watch,
// which older API servers return for a watch that starts with a list, because the reflector
// lists in that case. Replace and watchOpened clear the failure.
func (v *view) record(verb string, err error) {
	outcome := "ok"
	if err != nil {
		outcome = "error"
	}
	v.all.metrics.requests.WithLabelValues(verb, outcome).Inc()
	if err == nil || verb == "watch" && (apierrors.IsForbidden(err) || apierrors.IsInvalid(err)) {
		return
	}
	isForbidden := apierrors.IsForbidden(err)
	if sent := (*url.Error)(nil); errors.As(err, &sent) { // without the URL, in which a number changes with each request
		err = fmt.Errorf("cannot reach the API server at %s: %w", v.client.Host, shorten(sent.Err))
	} else if err = shorten(err); isForbidden {
		err = fmt.Errorf("%w: expected %s", err, v.missingRule())
	}
	v.all.mu.Lock()
	v.err, v.isForbidden, v.hasFailed = err, v.isForbidden || isForbidden, true
	isNew := v.isNew(err)
	v.all.mu.Unlock()
	if isNew {
		v.all.opts.Logger.Error("cannot list or watch pods", "verb", verb, "pods_of", v.String(), "err", err)
	}
}

// maxLogged is the maximum number of logged failures that a view remembers.
const maxLogged = 20

// isNew reports whether a failure has not been logged since the last recovery. Failures that
// differ only in digits are the same, because each connection has a different source port.
// The caller holds all.mu.
func (v *view) isNew(err error) bool {
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
	v.logged = v.logged[max(0, len(v.logged)-maxLogged):]
	return true
}

// recovered records that the pods are listed or watched again, and logs it if a failure had
// been logged. The caller holds all.mu.
func (v *view) recovered() {
	if len(v.logged) > 0 {
		v.logged = nil
		v.all.opts.Logger.Info("watching pods again", "pods_of", v.String())
	}
}

// missingRule returns the RBAC rule that the proxy needs to list and watch the view's pods.
func (v *view) missingRule() string {
	const rule = ` with the rule apiGroups: [""], resources: ["pods"], verbs: ["list", "watch"], bound to the proxy's user`
	if v.namespace == corev1.NamespaceAll {
		return "a ClusterRole" + rule
	}
	return "a Role in " + v.String() + rule
}

// startPolling records that the pods can be listed but not watched, and reports whether this
// was not recorded before.
func (v *view) startPolling() bool {
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
