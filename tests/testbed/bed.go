package testbed

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"slices"
	"sync"
	"time"
)

const (
	readyBound = time.Minute      // for a component to become ready, on a busy machine
	stopBound  = 15 * time.Second // for a component to exit after SIGTERM
)

// A Bed owns a temporary directory and the processes that run in it.
// Its methods are safe for concurrent use.
type Bed struct {
	Dir string // logs, data and kubeconfigs; removed by Stop

	progress io.Writer

	mu        sync.Mutex // guards the fields below
	processes []*Process // in the order in which they were started
	stopped   bool
}

// New returns an empty bed. It reports slow operations on progress, one line each, possibly
// from several goroutines concurrently.
func New(progress io.Writer) (*Bed, error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("cannot create a test bed on %s: expected Linux, where all addresses of 127.0.0.0/8 are local", runtime.GOOS)
	}
	dir, err := os.MkdirTemp("", "metrics-k8s-proxy-testbed-")
	if err != nil {
		return nil, fmt.Errorf("cannot create a test bed: %w", err)
	}
	return &Bed{Dir: dir, progress: progress}, nil
}

// Start starts a command as a process of the bed.
func (b *Bed) Start(command Command) (*Process, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return nil, fmt.Errorf("cannot start %s: the bed is stopped", command.Name)
	}
	process, err := startProcess(b.Dir, command)
	if err != nil {
		return nil, err
	}
	b.processes = append(b.processes, process)
	return process, nil
}

// Stop stops the processes in reverse order of their start, and removes the directory. The
// error names the processes that had to be killed. A second call has no effect.
func (b *Bed) Stop() error {
	b.mu.Lock()
	b.stopped = true
	processes := b.processes
	b.processes = nil
	b.mu.Unlock()

	var errs []error
	for _, process := range slices.Backward(processes) {
		_, err := process.Stop(stopBound)
		errs = append(errs, err)
	}
	errs = append(errs, os.RemoveAll(b.Dir))
	return errors.Join(errs...)
}

// probeOK returns a probe that succeeds if a GET of the URL returns status 200.
func probeOK(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := get(ctx, url)
		return err
	}
}

// get returns the body of a response with status 200. For any other status it returns an
// error with the start of the body.
func get(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot get %s: %w", url, err)
	}
	request.Close = true // do not keep an idle connection
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("cannot get %s: %w", url, err)
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		return nil, fmt.Errorf("cannot get %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("cannot get %s: %s: %.200s", url, response.Status, body)
	}
	return body, nil
}
