// Package config reads the program's environment variables into one struct and
// checks them. It imports nothing of this project.
package config

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/validation"
)

// Upper bounds of numbers: a larger value is a mistake. No body within BODY_SIZE_LIMIT
// holds maxSamples samples.
const (
	maxPlaces  = 1_000_000 // concurrent requests, bodies or scrapes
	maxSamples = 1_000_000_000_000
)

// Config is the whole configuration. Field tags: env is the variable, envDefault
// its default, help its description, and rule what a valid value is.
type Config struct {
	Discovery Discovery
	Scrape    Scrape
	Serve     Serve
	Log       Log
}

// Discovery selects the pods that are scraped.
type Discovery struct {
	PodLabelSelector    string        `env:"POD_LABEL_SELECTOR" rule:"a Kubernetes label selector such as app=web,tier in (a,b)" help:"label selector of the pods to scrape; they must also have the annotation prometheus.io/scrape: \"true\"; required"`
	Namespaces          []Namespace   `env:"NAMESPACES" rule:"names of namespaces, separated by commas" help:"comma-separated namespaces whose pods are scraped; all if unset"`
	ShardCount          int           `env:"SHARD_COUNT" envDefault:"1" rule:"a whole number, 1 to 1000" help:"number of proxies that share the pods; each pod is scraped by one of them"`
	ShardIndex          ShardIndex    `env:"SHARD_INDEX" envDefault:"0" rule:"a whole number from 0, less than SHARD_COUNT, or auto" help:"index of this proxy among them; auto = the number at the end of the host name, as in a StatefulSet"`
	NodeName            string        `env:"NODE_NAME" rule:"the name of a node" help:"scrape only the pods of this node; all nodes if unset"`
	Kubeconfig          string        `env:"KUBECONFIG" rule:"the path of a kubeconfig file" help:"kubeconfig file for the API server; the pod's service account if unset"`
	KubeContext         string        `env:"KUBE_CONTEXT" rule:"a context in the KUBECONFIG file" help:"context in KUBECONFIG; its current context if unset"`
	CacheUpdateInterval Duration      `env:"CACHE_UPDATE_INTERVAL" envDefault:"10s" rule:"a duration such as 10s, or seconds; at least 1s" help:"how often pods are listed if they cannot be watched"`
	AllowReserved       bool          `env:"ALLOW_RESERVED_TARGETS" envDefault:"false" rule:"true or false" help:"also scrape pods at reserved addresses: loopback, link-local, multicast, metadata services and the API server"`
	TargetLabels        []TargetLabel `env:"TARGET_LABELS" envDefault:"k8s_pod_name=pod,k8s_namespace=namespace" rule:"NAME=SOURCE pairs, separated by commas" help:"labels added to each sample; sources: pod, namespace, ip, node, uid, port, container, label:KEY, annotation:KEY"`
}

// Scrape configures how targets are scraped.
type Scrape struct {
	Timeout        Duration    `env:"SCRAPE_TIMEOUT" envDefault:"9s" rule:"a duration such as 9s, or seconds; above 0" help:"maximum time for scraping the targets; less if Prometheus's own timeout is shorter"`
	ConnectTimeout Duration    `env:"CONNECT_TIMEOUT" envDefault:"2s" rule:"a duration such as 2s, or seconds; above 0" help:"maximum time for connecting to a target"`
	ClientWorkers  int         `env:"CLIENT_WORKERS" envDefault:"0" rule:"a whole number, 0 to 1000000" help:"response bodies read concurrently; 0 = 8 per core; at most one per 8 MiB of MEMORY_LIMIT, but never fewer than 8"`
	MaxInFlight    int         `env:"MAX_IN_FLIGHT" envDefault:"0" rule:"a whole number, 0 to 1000000" help:"targets scraped concurrently; the others wait, and are down with reason timeout if slow targets leave them no time; 0 = all"`
	BodySizeLimit  Bytes       `env:"BODY_SIZE_LIMIT" envDefault:"32MiB" rule:"a size such as 32MiB, 500KB or 1000000; above 0, at most 1GiB" help:"maximum size of a target's response body, decoded"`
	SampleLimit    int64       `env:"SAMPLE_LIMIT" envDefault:"0" rule:"a whole number, 0 to 1000000000000" help:"maximum number of samples per target; 0 = no limit"`
	MemoryLimit    MemoryLimit `env:"MEMORY_LIMIT" envDefault:"auto" rule:"auto, none or a size such as 200MiB, at least 32MiB" help:"memory limit of the process; targets that would exceed it are down with reason memory; auto = 80 % of the container's limit, if it has one"`

	CACert                string `env:"K8S_CACERT" rule:"the path of a PEM file with CA certificates" help:"PEM file of CA certificates that https targets are verified with, in addition to the system's"`
	TLSInsecureSkipVerify bool   `env:"TARGET_TLS_INSECURE_SKIP_VERIFY" envDefault:"false" rule:"true or false" help:"do not verify the certificates of https targets"`

	FallbackProtocol Protocol `env:"FALLBACK_SCRAPE_PROTOCOL" rule:"PrometheusText0.0.4, PrometheusText1.0.0, OpenMetricsText0.0.1, OpenMetricsText1.0.0 or PrometheusProto" help:"format to assume if a target's Content-Type is missing or unknown; if unset, such a target is down"`
}

// Serve configures the listening ports.
type Serve struct {
	Port            int `env:"PORT" envDefault:"15090" rule:"a TCP port, 1 to 65535" help:"port of /metrics and the health endpoints"`
	MetricsHTTPPort int `env:"METRICS_HTTP_PORT" envDefault:"5055" rule:"a TCP port other than PORT, 1 to 65535, or 0 for none" help:"port of the proxy's own metrics; 0 = none"`
	ServerWorkers   int `env:"SERVER_WORKERS" envDefault:"8" rule:"a whole number, 0 to 1000000" help:"scrapes served concurrently; the others wait; values below 8 count as 8"`
	MaxConnections  int `env:"MAX_CONNECTIONS" envDefault:"512" rule:"a whole number, 1 to 1000000" help:"connections to PORT; at the limit the one that is idle for longest is closed; at most two per MiB of MEMORY_LIMIT, and a sixth of the files that the process may open; METRICS_HTTP_PORT accepts an eighth as many"`
}

// Log configures what is logged, and in which format.
type Log struct {
	Level  Level  `env:"LOG_LEVEL" envDefault:"info" rule:"debug, info, warn (or warning) or error" help:"minimum log level"`
	Format Format `env:"LOG_FORMAT" envDefault:"logfmt" rule:"logfmt or json" help:"log format"`
}

// Load reads the configuration from an environment (KEY=VALUE strings, as
// os.Environ returns). An empty value counts as unset. The caller logs the notes.
// The error has one line for each invalid variable, with its value and its rule.
func Load(environ []string) (c Config, notes []string, err error) {
	notes, err = load(environ, &c)
	return c, notes, err
}

// LoadServe reads only the Serve section, which is all that a health check needs.
func LoadServe(environ []string) (s Serve, err error) {
	_, err = load(environ, &s)
	return s, err
}

func (c Config) check() []problem {
	problems := slices.Concat(c.Discovery.check(), c.Scrape.check(), c.Serve.check())
	if c.Discovery.PodLabelSelector == "" { // nothing else finds targets
		problems = append(problems, problem{"POD_LABEL_SELECTOR", nil})
	}
	return problems
}

func (d Discovery) check() []problem {
	var problems []problem
	if d.PodLabelSelector != "" {
		if selector, err := labels.Parse(d.PodLabelSelector); err != nil || selector.Empty() {
			problems = append(problems, problem{"POD_LABEL_SELECTOR", err})
		}
	}
	if d.NodeName != "" {
		if reasons := validation.IsDNS1123Subdomain(d.NodeName); len(reasons) > 0 {
			problems = append(problems, problem{"NODE_NAME", errors.New(reasons[0])})
		}
	}
	if d.KubeContext != "" && d.Kubeconfig == "" {
		problems = append(problems, problem{"KUBE_CONTEXT", errors.New("KUBECONFIG is not set")})
	}
	if d.ShardCount < 1 || d.ShardCount > 1000 {
		problems = append(problems, problem{"SHARD_COUNT", nil})
	} else if d.ShardIndex != AutoShardIndex && int(d.ShardIndex) >= d.ShardCount {
		problems = append(problems, problem{"SHARD_INDEX", fmt.Errorf("SHARD_COUNT is %d", d.ShardCount)})
	}
	if d.CacheUpdateInterval < Duration(time.Second) {
		problems = append(problems, problem{"CACHE_UPDATE_INTERVAL", nil})
	}
	if err := checkTargetLabels(d.TargetLabels); err != nil {
		problems = append(problems, problem{"TARGET_LABELS", err})
	}
	return problems
}

func (s Scrape) check() []problem {
	var problems []problem
	for variable, ok := range map[string]bool{
		"SCRAPE_TIMEOUT":  s.Timeout > 0,
		"CONNECT_TIMEOUT": s.ConnectTimeout > 0,
		"CLIENT_WORKERS":  s.ClientWorkers >= 0 && s.ClientWorkers <= maxPlaces,
		"MAX_IN_FLIGHT":   s.MaxInFlight >= 0 && s.MaxInFlight <= maxPlaces,
		"BODY_SIZE_LIMIT": s.BodySizeLimit > 0 && s.BodySizeLimit <= maxBytes,
		"SAMPLE_LIMIT":    s.SampleLimit >= 0 && s.SampleLimit <= maxSamples,
		"MEMORY_LIMIT":    s.MemoryLimit <= 0 || s.MemoryLimit >= minMemoryLimit,
	} {
		if !ok {
			problems = append(problems, problem{variable, nil})
		}
	}
	return problems
}

func (s Serve) check() []problem {
	var problems []problem
	if s.Port < 1 || s.Port > 65535 {
		problems = append(problems, problem{"PORT", nil})
	}
	if s.MetricsHTTPPort < 0 || s.MetricsHTTPPort > 65535 {
		problems = append(problems, problem{"METRICS_HTTP_PORT", nil})
	}
	if s.MetricsHTTPPort == s.Port && s.Port != 0 {
		problems = append(problems, problem{"METRICS_HTTP_PORT", fmt.Errorf("PORT is also %d", s.Port)})
	}
	if s.MaxConnections < 1 || s.MaxConnections > maxPlaces {
		problems = append(problems, problem{"MAX_CONNECTIONS", nil})
	}
	if s.ServerWorkers < 0 || s.ServerWorkers > maxPlaces {
		problems = append(problems, problem{"SERVER_WORKERS", nil})
	}
	return problems
}
