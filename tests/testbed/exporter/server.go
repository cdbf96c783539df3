// Package exporter provides exporters for the pods of tests: healthy ones, and every kind of
// broken ones. It does not depend on Kubernetes or on the product.
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

	mu      sync.Mutex     // guards closed; no handler is added to running once closed is set
	running sync.WaitGroup // handlers and the accept loop
	closed  bool
}

// Start serves the handler on address, which is host:port. Port 0 selects a free port. Use
// the pod's address as the host. Listen on 0.0.0.0 only for thousands of pods: it includes
// all addresses of 127.0.0.0/8, but also the network.
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
		s.server.ErrorLog = log.New(io.Discard, "", 0) // clients may reject the certificate
	}
	s.running.Go(func() {
		if err := s.server.Serve(served); !errors.Is(err, http.ErrServerClosed) {
			panic(fmt.Sprintf("exporter at %s: %v", listener.Addr(), err))
		}
	})
	return s, nil
}

// enter registers a running handler. It returns false if the server is closed.
func (s *Server) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.running.Add(1)
	}
	return !s.closed
}

// Address returns the host:port on which the server listens.
func (s *Server) Address() string { return s.listener.Addr().String() }

// Port returns the port on which the server listens.
func (s *Server) Port() int { return s.listener.Addr().(*net.TCPAddr).Port }

// Requests returns the number of requests so far.
func (s *Server) Requests() int { return int(s.requests.Load()) }

// Close closes all connections, and returns when all handlers have returned.
func (s *Server) Close() {
	s.mu.Lock()
	s.closed = true
	s.mu.Unlock()
	_ = s.server.Close() // the error is that of closing the listener twice
	s.running.Wait()
}
