package main

import (
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/canonical/metrics-k8s-proxy/proxy/config"
	"github.com/canonical/metrics-k8s-proxy/proxy/discovery"
	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
	"github.com/canonical/metrics-k8s-proxy/proxy/server"
)

// program is the wired parts.
type program struct {
	logger        *slog.Logger
	pods          *discovery.Pods
	client        *scrape.Client
	server        *server.Server
	scrapeTimeout time.Duration
}

// newProgram wires the parts. Nothing runs yet.
func newProgram(c config.Config, logger *slog.Logger) (*program, error) {
	// What libraries log goes where ours goes.
	klog.SetSlogLogger(logger)
	slog.SetLogLoggerLevel(slog.LevelDebug)
	slog.SetDefault(logger)
	api, err := apiConfig(c.Discovery)
	if err != nil {
		return nil, err
	}
	userAgent := "metrics-proxy/" + version
	api.UserAgent = userAgent
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "metrics_proxy_build_info", Help: "Always 1. The version is in its label.",
		ConstLabels: prometheus.Labels{"version": version},
	}, func() float64 { return 1 }))

	var rules []discovery.LabelRule
	for _, l := range c.Discovery.TargetLabels {
		rules = append(rules, discovery.LabelRule(l))
	}
	var namespaces []string
	for _, ns := range c.Discovery.Namespaces {
		namespaces = append(namespaces, string(ns))
	}
	pods, err := discovery.New(discovery.Options{
		API:          api,
		Selector:     c.Discovery.PodLabelSelector,
		Namespaces:   namespaces,
		NodeName:     c.Discovery.NodeName,
		Labels:       rules,
		PollInterval: time.Duration(c.Discovery.CacheUpdateInterval),
		Logger:       logger,
		Registerer:   registry,
	})
	if err != nil {
		return nil, err
	}
	client := scrape.New(scrape.Options{
		ConnectTimeout: time.Duration(c.Scrape.ConnectTimeout),
		MaxInFlight:    c.Scrape.MaxInFlight,
		Workers:        c.Scrape.ClientWorkers,
		BodySizeLimit:  int64(c.Scrape.BodySizeLimit),
		SampleLimit:    c.Scrape.SampleLimit,
		MemoryLimit:    limitMemory(c.Scrape.MemoryLimit, logger),
		Fallback:       c.Scrape.FallbackProtocol.ContentType(),
		UserAgent:      userAgent,
	})
	timeout := time.Duration(c.Scrape.Timeout)
	return &program{
		logger: logger, pods: pods, client: client, scrapeTimeout: timeout,
		server: server.New(server.Options{
			Discovery: pods, Client: client, ScrapeTimeout: timeout, Workers: c.Serve.ServerWorkers,
			Instance: rand.Text(), Logger: logger, Registry: registry,
		}),
	}, nil
}

// apiConfig says how to reach the API server: by KUBECONFIG, or else by the
// service account of the pod that this process runs in.
func apiConfig(d config.Discovery) (*rest.Config, error) {
	if d.Kubeconfig == "" {
		api, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("KUBECONFIG is not set and this is not a pod with a service account: want the path of a kubeconfig file: %w", err)
		}
		return api, nil
	}
	api, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(
		&clientcmd.ClientConfigLoadingRules{ExplicitPath: d.Kubeconfig},
		&clientcmd.ConfigOverrides{CurrentContext: d.KubeContext},
	).ClientConfig()
	if err != nil {
		return nil, fmt.Errorf("KUBECONFIG is %q, KUBE_CONTEXT is %q: want a kubeconfig file that can be used, and a context of it: %w", d.Kubeconfig, d.KubeContext, err)
	}
	return api, nil
}

func newLogger(w io.Writer, l config.Log) *slog.Logger {
	opts := &slog.HandlerOptions{Level: slog.Level(l.Level)}
	if l.Format == "json" {
		return slog.New(slog.NewJSONHandler(w, opts))
	}
	return slog.New(slog.NewTextHandler(w, opts))
}
