package kubeapi

import (
	"context"
	"errors"
	"io"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
)

// ErrTooLarge is the error of a List whose response exceeds the limit.
var ErrTooLarge = errors.New("the response of the API server is too large")

// List sends a request and decodes the response into list. The request must come from a
// Client. If the response exceeds limit bytes, List returns ErrTooLarge, and reads and
// decodes no more of it; 0 means no limit. The size of the response is valid if err is nil.
func List(ctx context.Context, r *rest.Request, limit int64, list runtime.Object) (size int64, err error) {
	body := limitedBody{limit: limit}
	err = r.Do(context.WithValue(ctx, bodyKey{}, &body)).Into(list)
	return body.size, err
}

type bodyKey struct{}

// limitedBody is a response body that fails with ErrTooLarge once more than limit bytes have
// been read.
type limitedBody struct {
	io.ReadCloser
	limit int64 // 0 = none
	size  int64 // bytes read
}

// Read implements io.Reader.
func (b *limitedBody) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	b.size += int64(n)
	if b.limit > 0 && b.size > b.limit {
		return 0, ErrTooLarge
	}
	return n, err
}
