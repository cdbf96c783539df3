package testbed

import (
	"context"
	"fmt"
	"net"
	"strconv"
)

// A NodeExporter is a real one with its default collectors.
type NodeExporter struct {
	Address string // host:port
	Process *Process
}

// StartNodeExporter starts one at the address host.
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
	if err := process.comesUp(ctx, readyBound, answersOK(n.URL())); err != nil {
		return nil, fmt.Errorf("cannot start the node exporter: %w", err)
	}
	return n, nil
}

// URL is that of its metrics.
func (n *NodeExporter) URL() string { return "http://" + n.Address + "/metrics" }

// NodeExporterPayload returns what a real node exporter answers on this machine, as
// text 0.0.4. It is started and stopped for that.
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
