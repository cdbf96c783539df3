package main

import (
	"flag"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// serveExporter answers as every target of a load, each at its own address. Elsewhere
// than at a target's address the answer is 404.
func serveExporter(args []string) error {
	flags := flag.NewFlagSet("exporter", flag.ExitOnError)
	listen := flags.String("listen", "", "address")
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
	byHost := map[string][]byte{}
	for i, body := range bodies {
		byHost[testbed.Address(i)] = body
	}
	return serve(*listen, func(w http.ResponseWriter, r *http.Request) {
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

// serve answers every path with the handler, but /-/ready with 200.
func serve(address string, handler http.HandlerFunc) error {
	mux := http.NewServeMux()
	mux.HandleFunc("/-/ready", func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/metrics", handler)
	server := &http.Server{Addr: address, Handler: mux, ReadHeaderTimeout: time.Minute}
	return fmt.Errorf("cannot serve: %w", server.ListenAndServe())
}
