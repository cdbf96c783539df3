package kubeapi

import (
	"context"
	"net/url"

	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
)

type failureKey struct{}

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
