package discovery

import (
	"context"
	"fmt"
	"net/http"
	"net/url"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/rest"
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
	transport, err := rest.TransportFor(c)
	var client *rest.RESTClient
	if err == nil {
		client, err = rest.RESTClientForConfigAndClient(c, &http.Client{Transport: tellingTransport{transport}})
	}
	if err != nil {
		return nil, fmt.Errorf("cannot make a client for the API server at %s: %w", api.Host, err)
	}
	return client, nil
}

// tellingTransport tells the error of a request to the *error that its context has under
// failureKey.
type tellingTransport struct{ http.RoundTripper }

type failureKey struct{}

// RoundTrip makes the request.
func (t tellingTransport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if failure, ok := r.Context().Value(failureKey{}).(*error); ok {
		*failure = err
	}
	return resp, err
}

// beginWatch begins a watch. Request.Watch alone gives a watch without events, and no
// error, where the connection ends or times out before there is an answer.
func beginWatch(ctx context.Context, r *rest.Request) (watch.Interface, error) {
	var failure error
	w, err := r.Watch(context.WithValue(ctx, failureKey{}, &failure))
	if err == nil && failure != nil {
		return nil, &url.Error{Op: "Get", URL: r.URL().String(), Err: failure}
	}
	return w, err
}
