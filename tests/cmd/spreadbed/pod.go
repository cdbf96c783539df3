package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// A pod is one that a command made.
type pod struct {
	namespace, name    string
	labels             map[string]string
	says               string
	nodeExporter, down bool
	gone               bool   // deleted; its exporter may still answer
	end                func() // ends what answers at its address
}

func (p pod) key() string { return p.namespace + "/" + p.name }

// parsePod reads NAME [FLAGS].
func parsePod(args []string) (pod, error) {
	p := pod{name: args[0], labels: map[string]string{}, end: func() {}}
	flags := flag.NewFlagSet("pod", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.StringVar(&p.namespace, "namespace", "default", "")
	flags.StringVar(&p.says, "says", fmt.Sprintf("said{by=%q} 1", p.name), "")
	flags.BoolVar(&p.nodeExporter, "node-exporter", false, "")
	flags.BoolVar(&p.down, "down", false, "")
	labels := flags.String("label", "", "")
	if err := flags.Parse(args[1:]); err != nil {
		return p, err
	}
	if flags.NArg() > 0 || strings.HasPrefix(p.name, "-") {
		return p, errors.New("pod wants one name, and then flags")
	}
	for label := range strings.SplitSeq(*labels, ",") {
		key, value, ok := strings.Cut(label, "=")
		switch {
		case ok:
			p.labels[key] = value
		case label != "":
			return p, fmt.Errorf("%q is no label: want KEY=VALUE", label)
		}
	}
	return p, nil
}

// start runs at host what answers for the pod, if anything does. It returns the port.
func (p *pod) start(ctx context.Context, bed *testbed.Bed, host string) (int, error) {
	switch {
	case p.down:
		return testbed.FreePort()
	case p.nodeExporter:
		node, err := bed.StartNodeExporter(ctx, host)
		if err != nil {
			return 0, err
		}
		p.end = func() { _, _ = node.Process.Stop(10 * time.Second) }
		_, port, err := net.SplitHostPort(node.Address)
		if err != nil {
			return 0, err
		}
		return strconv.Atoi(port)
	default:
		answering, err := exporter.Start(host+":0", exporter.Replay([]byte(p.says+"\n")))
		if err != nil {
			return 0, err
		}
		p.end = answering.Close
		return answering.Port(), nil
	}
}
