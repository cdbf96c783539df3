package kubeapi

import "net/http"

// transport applies to a request what its context asks for. It stores the error of the
// request, or nil, in the *error under failureKey, and reads the response through the
// *limitedBody under bodyKey.
type transport struct{ http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (t transport) RoundTrip(r *http.Request) (*http.Response, error) {
	resp, err := t.RoundTripper.RoundTrip(r)
	if failure, ok := r.Context().Value(failureKey{}).(*error); ok {
		*failure = err
	}
	if body, ok := r.Context().Value(bodyKey{}).(*limitedBody); ok && err == nil {
		body.ReadCloser = resp.Body
		resp.Body = body
	}
	return resp, err
}
