package main

import (
	"context"
	"flag"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// serveExporter answers as every target of a load, each at its own address, and at the
// address of -listen as none. One listener for all of 127.0.0.0/8 would answer to the
// network as well.
func serveExporter(args []string) error {
	flags := flag.NewFlagSet("exporter", flag.ExitOnError)
	listen := flags.String("listen", "", "address that says whether this is ready; the targets have its port")
	path := flags.String("load", "", "file of the load")
	_ = flags.Parse(args) // exits on an error
	l, err := readLoad(*path)
	if err != nil {
		return err
	}
	bodies, err := l.bodies()
	if err != nil {
		return err
	}
	_, port, err := net.SplitHostPort(*listen)
	if err != nil {
		return fmt.Errorf("cannot serve: %w", err)
	}
	byHost := map[string][]byte{}
	var addresses []string
	for i, body := range bodies {
		host := testbed.Address(i)
		byHost[host] = body
		addresses = append(addresses, net.JoinHostPort(host, port))
	}
	return serve(append(addresses, *listen), func(w http.ResponseWriter, r *http.Request) {
		host := localHost(r)
		body, ok := byHost[host]
		if !ok {
			http.Error(w, "no target at "+host, http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", l.contentType())
		w.Header().Set("Content-Length", strconv.Itoa(len(body)))
		_, _ = w.Write(body) // the client may be gone
	})
}

// localHost is the address that the client has connected to.
func localHost(r *http.Request) string {
	address, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return ""
	}
	return address.IP.String()
}

// serve answers at all addresses, once it listens at each: /metrics with the handler,
// /-/ready with 200.
func serve(addresses []string, handler http.HandlerFunc) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/-/ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/metrics", handler)
	server := &http.Server{Handler: mux, ReadHeaderTimeout: time.Minute}
	var listen net.ListenConfig
	var listeners []net.Listener
	for _, address := range addresses {
		listener, err := listen.Listen(context.Background(), "tcp", address)
		if err != nil {
			return fmt.Errorf("cannot serve: %w", err)
		}
		listeners = append(listeners, listener)
	}
	failed := make(chan error)
	for _, listener := range listeners {
		go func() { failed <- server.Serve(listener) }()
	}
	return fmt.Errorf("cannot serve: %w", <-failed)
}
