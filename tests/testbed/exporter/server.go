// Package exporter serves what pods of a test answer: good bodies, and each way of
// being broken. It knows HTTP and nothing of Kubernetes or of the product.
package exporter

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
)

// A Server is a running HTTP server.
type Server struct {
	server   http.Server
	listener net.Listener
	requests atomic.Int64

	mu      sync.Mutex     // guards closed, and that no handler is added once it is set
	running sync.WaitGroup // handlers and the accept loop
	closed  bool
}

// Start serves the handler at address, host:port with port 0 for a free one. Use the
// pod's own address as the host. Only for thousands of pods listen on 0.0.0.0, which
// answers at every address of 127.0.0.0/8 and unfortunately to the network as well.
func Start(address string, handler http.Handler) (*Server, error) {
	return start(address, handler, nil)
}

// StartTLS is Start with https.
func StartTLS(address string, handler http.Handler, certificate tls.Certificate) (*Server, error) {
	return start(address, handler, &tls.Config{Certificates: []tls.Certificate{certificate}, MinVersion: tls.VersionTLS12})
}

func start(address string, handler http.Handler, secured *tls.Config) (*Server, error) {
	var listen net.ListenConfig
	listener, err := listen.Listen(context.Background(), "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("cannot start an exporter: %w", err)
	}
	s := &Server{listener: listener}
	s.server.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if !s.enter() {
			return
		}
		defer s.running.Done()
		s.requests.Add(1)
		handler.ServeHTTP(w, r)
	})
	served := listener
	if secured != nil {
		served = tls.NewListener(listener, secured)
		s.server.ErrorLog = log.New(io.Discard, "", 0) // clients may refuse the certificate
	}
	s.running.Go(func() {
		if err := s.server.Serve(served); !errors.Is(err, http.ErrServerClosed) {
			panic(fmt.Sprintf("exporter at %s: %v", listener.Addr(), err))
		}
	})
	return s, nil
}

// enter counts a handler in, unless the server is being closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.running.Add(1)
	}
	return !s.closed
}

// Address is the host and port that the server listens at.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Port is the port that the server listens at.
func (s *Server) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// Requests is the number of requests so far.
func (s *Server) Requests() int { return int(s.requests.Load()) }

// Close ends all connections and returns when no handler runs.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	_ = s.server.Close() // its error is the listener's second close
	s.running.Wait()
}
