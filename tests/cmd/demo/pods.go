package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"strconv"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// A pod is a pod that the demo creates in its cluster.
type pod struct {
	name    string
	address string // host:port
	up      float64
	family  string // a family that only this pod exposes; empty if it is down
}

// A podNumber is the number of a pod's loopback address; see testbed.Address.
type podNumber int

const (
	etcdPod podNumber = iota
	prometheusPod
	nodePod
	downPod
)

func (n podNumber) host() string { return testbed.Address(int(n)) }

func freeAddress(n podNumber) (string, error) {
	port, err := testbed.FreePort()
	return net.JoinHostPort(n.host(), strconv.Itoa(port)), err
}

// startPods returns the pods. It starts the node exporter; etcd and Prometheus are already
// running.
func startPods(ctx context.Context, bed *testbed.Bed, etcd, prometheus string, withNode bool) ([]pod, error) {
	down, err := freeAddress(downPod)
	if err != nil {
		return nil, err
	}
	pods := []pod{
		{name: "etcd", address: etcd, up: 1, family: "etcd_server_has_leader"},
		{name: "prometheus", address: prometheus, up: 1, family: "prometheus_ready"},
		{name: "down", address: down, up: 0},
	}
	if !withNode {
		return pods, nil
	}
	node, err := bed.StartNodeExporter(ctx, nodePod.host())
	if err != nil {
		return nil, err
	}
	return append(pods, pod{name: "node-exporter", address: node.Address, up: 1, family: "node_load1"}), nil
}

// register creates the pods in the cluster, and records the expected values of up.
func (d *demo) register(ctx context.Context, cluster *testbed.Cluster, pods []pod, out io.Writer) error {
	const namespace = "demo"
	fmt.Fprintf(out, "creating %d pods in namespace %s\n", len(pods), namespace)
	d.want = ups{}
	d.families = append(d.families, "process_resident_memory_bytes") // exposed by every pod that is up
	var registered []testbed.Pod
	for _, pod := range pods {
		host, portText, err := net.SplitHostPort(pod.address)
		if err != nil {
			return fmt.Errorf("cannot create pod %s: %w", pod.name, err)
		}
		port, err := strconv.Atoi(portText)
		if err != nil {
			return fmt.Errorf("cannot create pod %s: %w", pod.name, err)
		}
		registered = append(registered, testbed.Pod{
			Namespace: namespace, Name: pod.name, Labels: map[string]string{"app": "demo"},
			Annotations: testbed.ScrapeAnnotations(port, ""), IPs: []string{host},
		})
		d.want[namespace+"/"+pod.name] = pod.up
		if pod.family != "" {
			d.families = append(d.families, pod.family)
		}
	}
	return cluster.CreatePods(ctx, registered...)
}
