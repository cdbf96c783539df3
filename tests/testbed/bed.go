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
	readyBound = time.Minute      // for a component to come up, on a busy machine
	stopBound  = 15 * time.Second // for a component to end after SIGTERM
)

// A Bed owns a temporary directory and the processes that run in it.
// Its methods may be called from several goroutines.
type Bed struct {
	Dir string // logs, data and kubeconfigs; removed by Stop

	progress io.Writer

	mu        sync.Mutex // guards what follows
	processes []*Process // in the order of their start
	stopped   bool
}

// New makes an empty bed. What takes long is told on progress, a line each, possibly
// by several goroutines at once.
func New(progress io.Writer) (*Bed, error) {
	if runtime.GOOS != "linux" {
		return nil, fmt.Errorf("cannot make a test bed on %s: it needs Linux, where all of 127.0.0.0/8 is this machine", runtime.GOOS)
	}
	dir, err := os.MkdirTemp("", "metrics-k8s-proxy-testbed-")
	if err != nil {
		return nil, fmt.Errorf("cannot make a test bed: %w", err)
	}
	return &Bed{Dir: dir, progress: progress}, nil
}

// Start runs any command as part of the bed.
func (b *Bed) Start(command Command) (*Process, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped {
		return nil, fmt.Errorf("cannot start %s: the bed was stopped", command.Name)
	}
	process, err := startProcess(b.Dir, command)
	if err != nil {
		return nil, err
	}
	b.processes = append(b.processes, process)
	return process, nil
}

// Stop ends every process, the latest first, and removes the directory. An error
// names the processes that had to be killed. A second call does nothing.
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

// answersOK is a probe that asks for a 200.
func answersOK(url string) func(context.Context) error {
	return func(ctx context.Context) error {
		_, err := get(ctx, url)
		return err
	}
}

// get returns the body of a 200 answer; any other answer is an error that shows its start.
func get(ctx context.Context, url string) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return nil, fmt.Errorf("cannot get %s: %w", url, err)
	}
	request.Close = true // leave no idle connection behind
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
