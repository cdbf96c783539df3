package discovery

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/cache"
)

// newClient makes a client for the core group, which is all that is used.
func newClient(api *rest.Config) (rest.Interface, error) {
	scheme := runtime.NewScheme()
	if err := corev1.AddToScheme(scheme); err != nil {
		return nil, err
	}
	c := rest.CopyConfig(api)
	c.APIPath = "/api"
	c.GroupVersion = &corev1.SchemeGroupVersion
	c.NegotiatedSerializer = serializer.NewCodecFactory(scheme).WithoutConversion()
	c.ContentType = runtime.ContentTypeProtobuf
	c.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	c.QPS = -1 // a list and a watch for each namespace: nothing to limit
	c.WarningHandler = rest.NoWarnings{}
	client, err := rest.RESTClientFor(c)
	if err != nil {
		return nil, fmt.Errorf("cannot make a client for the API server at %s: %w", api.Host, err)
	}
	return client, nil
}

// follow keeps the view up to date until ctx ends: a list, then a watch for as
// long as it lasts, and again. Where the watch is forbidden the next list comes
// after PollInterval. Failures are tried again with growing delays.
func (v *view) follow(ctx context.Context) {
	r := cache.NewReflectorWithOptions(v.listWatch(), &corev1.Pod{}, v, cache.ReflectorOptions{Name: "pods"})
	backoff := newBackoff()
	isPolling := false
	for ctx.Err() == nil {
		err := r.ListAndWatchWithContext(ctx)
		delay := v.pods.opts.PollInterval
		switch isForbidden := apierrors.IsForbidden(err) && v.lastError() == nil; {
		case isForbidden && !isPolling:
			v.pods.opts.Logger.Warn("cannot watch pods, so they are listed again and again", "pods_of", v.String(), "interval", delay, "err", err)
			fallthrough
		case isForbidden:
			isPolling = true
			backoff = newBackoff()
		case err == nil:
			isPolling = false
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

// newBackoff gives 0.5 s and, after some failures, up to 30 s.
func newBackoff() wait.Backoff {
	return wait.Backoff{Duration: 500 * time.Millisecond, Factor: 2, Jitter: 0.5, Steps: 7, Cap: 30 * time.Second}
}

// listWatch asks the API server for the view's pods, and notes what it answers.
func (v *view) listWatch() *cache.ListWatch {
	lw := cache.NewFilteredListWatchFromClient(v.pods.client, "pods", v.namespace, func(o *metav1.ListOptions) {
		o.LabelSelector = v.pods.opts.Selector
		if node := v.pods.opts.NodeName; node != "" {
			o.FieldSelector = fields.OneTermEqualSelector("spec.nodeName", node).String()
		}
	})
	return &cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, o metav1.ListOptions) (runtime.Object, error) {
			list, err := lw.ListWithContext(ctx, o)
			v.note("list", err)
			return list, err
		},
		WatchFuncWithContext: func(ctx context.Context, o metav1.ListOptions) (watch.Interface, error) {
			w, err := lw.WatchWithContext(ctx, o)
			v.note("watch", err)
			return w, err
		},
	}
}

// note keeps what came of a request to the API server, and logs a failure that is
// another than before. That watching is forbidden is no failure, since follow polls,
// nor that a watch cannot begin with a list, which older API servers call invalid:
// the reflector lists then.
func (v *view) note(verb string, err error) {
	outcome := "ok"
	if err != nil {
		outcome = "error"
	}
	v.pods.metrics.requests.WithLabelValues(verb, outcome).Inc()
	if verb == "watch" && (apierrors.IsForbidden(err) || apierrors.IsInvalid(err)) {
		return
	}
	if sent := (*url.Error)(nil); errors.As(err, &sent) { // without the URL, in which a number changes each time
		err = fmt.Errorf("cannot reach the API server at %s: %w", v.pods.opts.API.Host, sent.Err)
	}
	v.pods.mu.Lock()
	before := v.err
	v.err = err
	v.pods.mu.Unlock()
	if err != nil && (before == nil || before.Error() != err.Error()) {
		v.pods.opts.Logger.Error("cannot follow pods", "verb", verb, "pods_of", v.String(), "err", err)
	}
}

func (v *view) lastError() error {
	v.pods.mu.Lock()
	defer v.pods.mu.Unlock()
	return v.err
}
