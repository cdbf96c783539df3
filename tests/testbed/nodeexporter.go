package testbed

import (
	"context"
	"fmt"
	"net"
	"strconv"
)

// A NodeExporter is a real node exporter with its default collectors.
type NodeExporter struct {
	Address string // host:port
	Process *Process
}

// StartNodeExporter starts a node exporter that listens on the address host.
func (b *Bed) StartNodeExporter(ctx context.Context, host string) (*NodeExporter, error) {
	binary, err := Binary(ctx, "node_exporter", b.progress)
	if err != nil {
		return nil, fmt.Errorf("cannot start the node exporter: %w", err)
	}
	port, err := FreePort()
	if err != nil {
		return nil, fmt.Errorf("cannot start the node exporter: %w", err)
	}
	address := net.JoinHostPort(host, strconv.Itoa(port))
	process, err := b.Start(Command{
		Name: "node_exporter", Path: binary, Args: []string{"--web.listen-address=" + address},
	})
	if err != nil {
		return nil, err
	}
	n := &NodeExporter{Address: address, Process: process}
	if err := process.waitReady(ctx, readyBound, probeOK(n.URL())); err != nil {
		return nil, fmt.Errorf("cannot start the node exporter: %w", err)
	}
	return n, nil
}

// URL returns the URL of the metrics.
func (n *NodeExporter) URL() string { return "http://" + n.Address + "/metrics" }

// NodeExporterPayload starts a node exporter, scrapes it and stops it. It returns the body, in
// the text format 0.0.4.
func (b *Bed) NodeExporterPayload(ctx context.Context) ([]byte, error) {
	exporter, err := b.StartNodeExporter(ctx, "127.0.0.1")
	if err != nil {
		return nil, err
	}
	payload, err := get(ctx, exporter.URL())
	if err != nil {
		return nil, err
	}
	_, err = exporter.Process.Stop(stopBound)
	return payload, err
}
