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

// serveExporter serves every target of a load, each at its own address. The address of
// -listen is not a target; it only reports that the exporter is ready. A single listener for
// all of 127.0.0.0/8 would have to listen on 0.0.0.0, and so on the network too.
func serveExporter(args []string) error {
	flags := flag.NewFlagSet("exporter", flag.ExitOnError)
	listen := flags.String("listen", "", "address of /-/ready; the targets have the same port")
	path := flags.String("load", "", "file that describes the load")
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
		_, _ = w.Write(body) // the client may have disconnected
	})
}

// localHost returns the local IP address of the connection.
func localHost(r *http.Request) string {
	address, ok := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	if !ok {
		return ""
	}
	return address.IP.String()
}

// serve listens on all addresses, and then serves /metrics with the handler, and /-/ready
// with status 200.
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
