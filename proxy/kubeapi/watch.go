package kubeapi

import (
	"context"
	"net/http"
	"net/url"

	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

// recordingTransport stores the error of a request, or nil, in the *error that the
// request's context holds under failureKey, if there is one.
type recordingTransport struct{ http.RoundTripper }

type failureKey struct{}

// RoundTrip implements http.RoundTripper.
func (t recordingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if failure, ok := r.Context().Value(failureKey{}).(*error); ok {
		*failure = err
	}
	return resp, err
}

// Watch starts a watch. The request must come from a Client. Unlike Request.Watch, which
// returns a watch without events in this case, Watch returns a *url.Error if the connection
// fails before the response.
func Watch(ctx context.Context, r *rest.Request) (watch.Interface, error) {
	var failure error
	w, err := r.Watch(context.WithValue(ctx, failureKey{}, &failure))
	if err == nil && failure != nil {
		return nil, &url.Error{Op: "Get", URL: r.URL().String(), Err: failure}
	}
	return w, err
}
