package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

const (
	socketFile = "socket"  // in the directory of the bed: holds the path of its socket, which must be short
	longest    = time.Hour // that a bed runs, should nobody stop it
)

// A server has the bed and does what commands say.
type server struct {
	dir     string
	bed     *testbed.Bed
	cluster *testbed.Cluster

	mu    sync.Mutex     // guards what follows; a command holds it while it runs
	pods  map[string]pod // by NAMESPACE/NAME
	count int            // of all pods so far
	end   context.CancelFunc
}

// serve runs a bed until it is told to stop, by a command or by a signal.
func serve(ctx context.Context, dir string) error {
	ctx, cancel := context.WithTimeout(ctx, longest)
	defer cancel()
	bed, err := testbed.New(os.Stderr)
	if err != nil {
		return err
	}
	s := &server{dir: dir, bed: bed, pods: map[string]pod{}, end: cancel}
	defer func() { _ = bed.Stop() }() // unless stop has done so, and told
	if s.cluster, err = bed.StartCluster(ctx, testbed.ClusterOptions{}); err != nil {
		return err
	}
	socket := filepath.Join(bed.Dir, "control")
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "unix", socket)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, socketFile)
	if err := os.WriteFile(path, []byte(socket), 0o600); err != nil {
		return err
	}
	defer func() { _ = os.Remove(path) }()
	control := http.Server{Handler: http.HandlerFunc(s.handle), ReadHeaderTimeout: time.Minute}
	closed := make(chan error, 1)
	context.AfterFunc(ctx, func() {
		bound, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		closed <- control.Shutdown(bound) // the answer to stop is still given
	})
	if err := control.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return <-closed
}

func (s *server) handle(w http.ResponseWriter, r *http.Request) {
	var args []string
	err := json.NewDecoder(r.Body).Decode(&args)
	if err == nil && len(args) == 0 {
		err = errors.New("no command is given")
	}
	var answer string
	if err == nil {
		s.mu.Lock()
		answer, err = s.run(r.Context(), args[0], args[1:])
		s.mu.Unlock()
	}
	if err != nil {
		w.WriteHeader(http.StatusBadRequest)
		answer = err.Error()
	}
	_, _ = fmt.Fprint(w, answer)
}
