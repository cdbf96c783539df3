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

// An aggregator writes one response built from the responses of all targets.
type aggregator func(f *fanOut, w io.Writer, r *http.Request) error

// A fanOut scrapes a fixed list of targets.
type fanOut struct {
	urls    []string
	client  *http.Client
	buffers sync.Pool // of *bytes.Buffer
	gzips   sync.Pool // of *gzip.Writer
}

// serveBaseline runs one of the baselines.
func serveBaseline(args []string, aggregate aggregator) error {
	flags := flag.NewFlagSet("baseline", flag.ExitOnError)
	listen := flags.String("listen", "", "address to listen on")
	targets := flags.String("targets", "", "file with the targets' URLs, one per line")
	_ = flags.Parse(args) // exits on an error
	content, err := os.ReadFile(*targets)
	if err != nil {
		return fmt.Errorf("cannot read targets: %w", err)
	}
	f := newFanOut(strings.Fields(string(content)))
	return serve([]string{*listen}, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
		if err := f.respond(w, r, aggregate); err != nil {
			fmt.Fprintln(os.Stderr, err)
			panic(http.ErrAbortHandler) // so that the client detects an incomplete response
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
			w, _ := gzip.NewWriterLevel(nil, gzip.BestSpeed) // fails only for an invalid level
			return w
		}},
	}
}

// respond writes the response, compressed if the client accepts gzip.
func (f *fanOut) respond(w http.ResponseWriter, r *http.Request, aggregate aggregator) error {
	if r.Header.Get("Accept-Encoding") != "gzip" {
		return aggregate(f, w, r)
	}
	w.Header().Set("Content-Encoding", "gzip")
	compressed := f.gzips.Get().(*gzip.Writer)
	defer f.gzips.Put(compressed)
	compressed.Reset(w)
	return errors.Join(aggregate(f, compressed, r), compressed.Close())
}

// join writes each body as soon as it is complete. The result is not a valid exposition: the
// baseline measures the cost of moving the bytes.
func join(f *fanOut, w io.Writer, r *http.Request) error {
	var mu sync.Mutex // held while a body is written
	return f.each(r, func(_ int, body *bytes.Buffer) error {
		mu.Lock()
		defer mu.Unlock()
		_, err := w.Write(body.Bytes())
		return err
	})
}

// each scrapes all targets concurrently, with the Accept header of r, and calls use for each
// body, from several goroutines. use must not keep the body after it returns.
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
		return fmt.Errorf("cannot scrape %s: %w", url, err)
	}
	request.Header.Set("Accept", accept)
	response, err := f.client.Do(request)
	if err != nil {
		return fmt.Errorf("cannot scrape %s: %w", url, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("cannot scrape %s: %s", url, response.Status)
	}
	body.Grow(int(max(response.ContentLength, 0)) + bytes.MinRead) // so that the buffer does not grow while reading
	if _, err := body.ReadFrom(response.Body); err != nil {
		return fmt.Errorf("cannot read %s: %w", url, err)
	}
	return nil
}
