package main

import (
	"context"
	"fmt"
	"io"
	"net"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

const label = "app=demo" // label of the pods that the demo creates

// start builds and starts everything, including the pods.
func start(ctx context.Context, bed *testbed.Bed, settings settings, out io.Writer) (*demo, error) {
	binary, err := bed.BuildProxy(ctx, testbed.ProxyBuild{})
	if err != nil {
		return nil, err
	}
	if settings.userCluster {
		if _, err := testbed.Binary(ctx, "prometheus", out); err != nil {
			return nil, err
		}
		return startOn(ctx, bed, binary, settings.proxyEnv, out)
	}
	withNode, err := buildComponents(ctx, out)
	if err != nil {
		return nil, err
	}
	fmt.Fprintln(out, "starting etcd and kube-apiserver")
	etcd, err := freeAddress(etcdPod)
	if err != nil {
		return nil, err
	}
	cluster, err := bed.StartCluster(ctx, testbed.ClusterOptions{EtcdMetrics: etcd})
	if err != nil {
		return nil, err
	}
	kubeconfig, err := cluster.Kubeconfig(cluster.Proxy, "")
	if err != nil {
		return nil, err
	}
	env := map[string]string{"KUBECONFIG": kubeconfig, "POD_LABEL_SELECTOR": label}
	d, err := startOn(ctx, bed, binary, env, out)
	if err != nil {
		return nil, err
	}
	d.readerKubeconfig = kubeconfig
	if d.kubeconfig, err = cluster.Kubeconfig(cluster.Admin, ""); err != nil {
		return nil, err
	}
	pods, err := startPods(ctx, bed, etcd, d.prometheus.Address, withNode)
	if err != nil {
		return nil, err
	}
	return d, d.register(ctx, cluster, pods, out)
}

// buildComponents builds the programs that are missing. It reports whether the node
// exporter, which is optional, is available.
func buildComponents(ctx context.Context, out io.Writer) (withNode bool, err error) {
	for _, name := range []string{"etcd", "kube-apiserver", "prometheus"} {
		if _, err := testbed.Binary(ctx, name, out); err != nil {
			return false, err
		}
	}
	if _, err := testbed.Binary(ctx, "node_exporter", out); err != nil {
		fmt.Fprintln(out, "continuing without the node exporter:", err)
		return false, ctx.Err()
	}
	return true, nil
}

// startOn starts the proxy with the environment, and a Prometheus that scrapes the proxy.
func startOn(ctx context.Context, bed *testbed.Bed, binary string, env map[string]string, out io.Writer) (*demo, error) {
	fmt.Fprintln(out, "starting metrics-proxy and Prometheus")
	// Use the default ports if they are free.
	for name, port := range map[string]string{"PORT": "15090", "METRICS_HTTP_PORT": "5055"} {
		if env[name] == "" && isFree(ctx, port) {
			env[name] = port
		}
	}
	proxy, err := bed.StartProxy(ctx, testbed.ProxyOptions{Binary: binary, Env: env})
	if err != nil {
		return nil, err
	}
	prometheus, err := bed.StartPrometheus(ctx, testbed.PrometheusOptions{
		Host: prometheusPod.host(), Config: `
scrape_configs:
- job_name: metrics-proxy
  scrape_interval: 5s
  honor_labels: true
  static_configs: [{targets: ["` + proxy.Address() + `"]}]
`,
	})
	if err != nil {
		return nil, err
	}
	return &demo{
		proxy: proxy, prometheus: prometheus,
		selector: env["POD_LABEL_SELECTOR"], families: []string{"up"},
	}, nil
}

func isFree(ctx context.Context, port string) bool {
	var listen net.ListenConfig
	listener, err := listen.Listen(ctx, "tcp", ":"+port)
	if err != nil {
		return false
	}
	_ = listener.Close()
	return true
}
