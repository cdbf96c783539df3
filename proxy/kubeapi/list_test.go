package kubeapi

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/rest"
)

// TestListLimit checks that a response is read up to the limit, and no further.
func TestListLimit(t *testing.T) {
	const list = `{"kind":"PodList","apiVersion":"v1","metadata":{"resourceVersion":"1"},"items":[]}`
	written := make(chan int, 1)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		if !strings.HasSuffix(r.URL.Path, "/endless") {
			_, _ = w.Write([]byte(list))
			return
		}
		n, err := 0, error(nil)
		for err == nil {
			_, err = w.Write(make([]byte, 1<<16))
			n += 1 << 16
		}
		written <- n
	}))
	defer server.Close()
	client, err := NewClient(&rest.Config{Host: server.URL}, Core())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		resource string
		limit    int64
		isError  bool
	}{
		{"pods", int64(len(list)), false},
		{"pods", 0, false},
		{"pods", int64(len(list)) - 1, true},
		{"endless", 1 << 20, true},
	} {
		var into corev1.PodList
		size, err := List(context.Background(), client.Get().Resource(test.resource), test.limit, &into)
		switch {
		case test.isError != errors.Is(err, ErrTooLarge), !test.isError && err != nil:
			t.Errorf("%s with limit %d: got error %v", test.resource, test.limit, err)
		case err == nil && (size != int64(len(list)) || into.ResourceVersion != "1"):
			t.Errorf("%s with limit %d: got %d bytes, list %+v", test.resource, test.limit, size, into)
		}
	}
	if n := <-written; n > 64<<20 {
		t.Errorf("%d bytes of an endless response were accepted", n)
	}
}
