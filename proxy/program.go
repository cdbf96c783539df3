package main

import (
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"math"
	"net"
	"os"
	"regexp"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/client-go/util/cert"
	"k8s.io/klog/v2"

	"github.com/canonical/metrics-k8s-proxy/proxy/config"
	"github.com/canonical/metrics-k8s-proxy/proxy/discovery"
	"github.com/canonical/metrics-k8s-proxy/proxy/kubeapi"
	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
	"github.com/canonical/metrics-k8s-proxy/proxy/server"
)

// program holds the components of the proxy.
type program struct {
	logger        *slog.Logger
	sources       *sources
	client        *scrape.Client
	server        *server.Server
	scrapeTimeout time.Duration
	memoryLimit   int64 // bytes; 0 = none
}

// newProgram creates the components and connects them. It starts none of them.
func newProgram(c config.Config, logger *slog.Logger) (*program, error) {
	// Libraries log through the same logger.
	klog.SetSlogLogger(logger)
	slog.SetLogLoggerLevel(slog.LevelDebug)
	slog.SetDefault(logger)
	userAgent := "metrics-proxy/" + version
	registry := prometheus.NewRegistry()
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "metrics_proxy_build_info", Help: "Always 1. The version label is the version of the proxy.",
		ConstLabels: prometheus.Labels{"version": version},
	}, func() float64 { return 1 }))

	var found []source
	if dialects := dialectsOf(c.Discovery); len(dialects) > 0 {
		pods, err := newPods(c.Discovery, dialects, userAgent, logger, registry)
		if err != nil {
			return nil, err
		}
		found = append(found, pods)
	}
	all := &sources{list: found}
	tlsConfig, err := targetTLS(c.Scrape)
	if err != nil {
		return nil, err
	}
	memoryLimit := limitMemory(c.Scrape.MemoryLimit, logger)
	client := scrape.New(scrape.Options{
		ConnectTimeout: time.Duration(c.Scrape.ConnectTimeout),
		MaxInFlight:    c.Scrape.MaxInFlight,
		MaxConnections: int(min(maxOpenFiles()/2, math.MaxInt32)),
		Workers:        c.Scrape.ClientWorkers,
		BodySizeLimit:  int64(c.Scrape.BodySizeLimit),
		SampleLimit:    int(min(c.Scrape.SampleLimit, math.MaxInt)), // for platforms where int has 32 bits
		MemoryLimit:    memoryLimit,
		Fallback:       c.Scrape.FallbackProtocol.ContentType(),
		UserAgent:      userAgent,
		TLS:            tlsConfig,
	})
	timeout := time.Duration(c.Scrape.Timeout)
	return &program{
		logger: logger, sources: all, client: client, scrapeTimeout: timeout, memoryLimit: memoryLimit,
		server: server.New(server.Options{
			Discovery: all, Client: client, ScrapeTimeout: timeout, Workers: c.Serve.ServerWorkers, MemoryLimit: memoryLimit,
			Instance: rand.Text(), Logger: logger, Registry: registry,
		}),
	}, nil
}

// dialectsOf returns the dialects that are configured.
func dialectsOf(d config.Discovery) []discovery.Dialect {
	var dialects []discovery.Dialect
	if d.PodLabelSelector != "" {
		var rules []discovery.LabelRule
		for _, l := range d.TargetLabels {
			rules = append(rules, discovery.LabelRule(l))
		}
		dialects = append(dialects, discovery.Annotations(d.PodLabelSelector, rules))
	}
	return dialects
}

// newPods creates the discovery of pods from its configuration.
func newPods(d config.Discovery, dialects []discovery.Dialect, userAgent string, logger *slog.Logger, registry *prometheus.Registry) (*discovery.Pods, error) {
	connect := func() (*kubeapi.Client, error) {
		api, err := kubeapi.Load(kubeapi.Options{Kubeconfig: d.Kubeconfig, Context: d.KubeContext, UserAgent: userAgent})
		if err != nil {
			return nil, err
		}
		return kubeapi.NewClient(api, kubeapi.Core())
	}
	shard, err := shardIndex(d, os.Hostname)
	if err != nil {
		return nil, err
	}
	var namespaces []string
	for _, ns := range d.Namespaces {
		namespaces = append(namespaces, string(ns))
	}
	return discovery.New(discovery.Options{
		Connect:      connect,
		Dialects:     dialects,
		Namespaces:   namespaces,
		NodeName:     d.NodeName,
		ShardCount:   d.ShardCount,
		ShardIndex:   shard,
		PollInterval: time.Duration(d.CacheUpdateInterval),

		AllowReserved: d.AllowReserved,
		Lookup:        net.DefaultResolver.LookupNetIP,

		Logger:     logger,
		Registerer: registry,
	})
}

// ordinal matches the number at the end of the host name of a StatefulSet's pod.
var ordinal = regexp.MustCompile(`-([0-9]{1,9})$`)

// shardIndex returns the index of this proxy among those that share the pods.
func shardIndex(d config.Discovery, hostname func() (string, error)) (int, error) {
	if d.ShardIndex != config.AutoShardIndex {
		return int(d.ShardIndex), nil
	}
	name, err := hostname()
	if err != nil {
		return 0, fmt.Errorf("SHARD_INDEX is auto: cannot read the host name: %w", err)
	}
	if match := ordinal.FindStringSubmatch(name); match != nil {
		if n, err := strconv.Atoi(match[1]); err == nil && n < d.ShardCount {
			return n, nil
		}
	}
	return 0, fmt.Errorf("SHARD_INDEX is auto, SHARD_COUNT is %d and the host name is %q: expected a host name that ends in a hyphen and a number below SHARD_COUNT, such as proxy-0", d.ShardCount, name)
}

// targetTLS returns the TLS configuration for https targets.
func targetTLS(s config.Scrape) (*tls.Config, error) {
	c := &tls.Config{InsecureSkipVerify: s.TLSInsecureSkipVerify} //nolint:gosec // set by the user
	if s.CACert == "" {
		return c, nil
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		return nil, fmt.Errorf("cannot read the system's CA certificates: %w", err)
	}
	authorities, err := cert.CertsFromFile(s.CACert)
	if err != nil {
		return nil, fmt.Errorf("K8S_CACERT is %q: expected the path of a PEM file with CA certificates: %w", s.CACert, err)
	}
	for _, authority := range authorities {
		roots.AddCert(authority)
	}
	c.RootCAs = roots
	return c, nil
}
