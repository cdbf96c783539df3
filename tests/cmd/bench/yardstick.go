package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"

	"github.com/klauspost/compress/gzip"
)

// An aggregator writes one answer made of those of all targets.
type aggregator func(f *fanOut, w io.Writer, r *http.Request) error

// A fanOut asks the same targets again and again.
type fanOut struct {
	urls    []string
	client  *http.Client
	buffers sync.Pool // of *bytes.Buffer
	gzips   sync.Pool // of *gzip.Writer
}

// serveYardstick runs a program to compare with.
func serveYardstick(args []string, aggregate aggregator) error {
	flags := flag.NewFlagSet("yardstick", flag.ExitOnError)
	listen := flags.String("listen", "", "address")
	targets := flags.String("targets", "", "file of the targets' URLs, one a line")
	_ = flags.Parse(args) // exits on an error
	content, err := os.ReadFile(*targets)
	if err != nil {
		return fmt.Errorf("cannot read targets: %w", err)
	}
	f := newFanOut(strings.Fields(string(content)))
	return serve([]string{*listen}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		if err := f.answer(w, r, aggregate); err != nil {
			fmt.Fprintln(os.Stderr, err)
			panic(http.ErrAbortHandler) // the client must not take this for an answer
		}
	})
}

func newFanOut(urls []string) *fanOut {
	return &fanOut{
		urls: urls,
		client: &http.Client{Transport: &http.Transport{
			DisableCompression: true, MaxIdleConnsPerHost: 2,
		}},
		buffers: sync.Pool{New: func() any { return new(bytes.Buffer) }},
		gzips: sync.Pool{New: func() any {
			w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // errs on an unknown level only
			return w
		}},
	}
}

// answer compresses if the client asks for it.
func (f *fanOut) answer(w http.ResponseWriter, r *http.Request, aggregate aggregator) error {
	if r.Header.Get("Accept-Encoding") != "gzip" {
		return aggregate(f, w, r)
	}
	w.Header().Set("Content-Encoding", "gzip")
	compressed := f.gzips.Get().(*gzip.Writer)
	defer f.gzips.Put(compressed)
	compressed.Reset(w)
	return errors.Join(aggregate(f, compressed, r), compressed.Close())
}

// join writes each body as soon as it is there. That is no valid exposition: it is
// what moving the bytes costs.
func join(f *fanOut, w io.Writer, r *http.Request) error {
	var mu sync.Mutex // held while a body is written
	return f.each(r, func(_ int, body *bytes.Buffer) error {
		mu.Lock()
		defer mu.Unlock()
		_, err := w.Write(body.Bytes())
		return err
	})
}

// each asks all targets at once, with the Accept of r, and calls use for each body,
// from several goroutines. A body belongs to use until it returns.
func (f *fanOut) each(r *http.Request, use func(target int, body *bytes.Buffer) error) error {
	errs := make([]error, len(f.urls))
	var all sync.WaitGroup
	for i, url := range f.urls {
		all.Go(func() {
			body := f.buffers.Get().(*bytes.Buffer)
			defer f.buffers.Put(body)
			body.Reset()
			if errs[i] = f.read(r.Context(), url, r.Header.Get("Accept"), body); errs[i] == nil {
				errs[i] = use(i, body)
			}
		})
	}
	all.Wait()
	return errors.Join(errs...)
}

func (f *fanOut) read(ctx context.Context, url, accept string, body *bytes.Buffer) error {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("cannot ask %s: %w", url, err)
	}
	request.Header.Set("Accept", accept)
	response, err := f.client.Do(request)
	if err != nil {
		return fmt.Errorf("cannot ask %s: %w", url, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("cannot ask %s: %s", url, response.Status)
	}
	body.Grow(int(max(response.ContentLength, 0)) + bytes.MinRead) // so that reading never grows it
	if _, err := body.ReadFrom(response.Body); err != nil {
		return fmt.Errorf("cannot read %s: %w", url, err)
	}
	return nil
}
