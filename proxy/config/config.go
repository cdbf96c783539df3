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

// What numbers may be at most: more is a mistake. No body of BODY_SIZE_LIMIT holds
// maxSamples.
const (
	maxPlaces  = 1_000_000 // things done at a time
	maxSamples = 1_000_000_000_000
)

// Config is the whole configuration. Field tags: env is the variable, envDefault
// its default, help its meaning, and want the rule that its value must satisfy.
type Config struct {
	Discovery Discovery
	Scrape    Scrape
	Serve     Serve
	Log       Log
}

// Discovery says which pods are targets.
type Discovery struct {
	PodLabelSelector    string        `env:"POD_LABEL_SELECTOR" want:"a Kubernetes label selector such as app=web,tier in (a,b)" help:"which pods are targets, if they carry prometheus.io/scrape: \"true\"; required"`
	Namespaces          []Namespace   `env:"NAMESPACES" want:"names of namespaces, separated by commas" help:"only pods of these namespaces, separated by commas; all if unset"`
	ShardCount          int           `env:"SHARD_COUNT" envDefault:"1" want:"a whole number, 1 to 1000" help:"how many proxies share the pods; each pod is asked by one of them"`
	ShardIndex          ShardIndex    `env:"SHARD_INDEX" envDefault:"0" want:"a whole number from 0, less than SHARD_COUNT, or auto" help:"which of them this one is; auto = the number at the end of the host name, as in a StatefulSet"`
	NodeName            string        `env:"NODE_NAME" want:"the name of a node" help:"only pods of this node; all if unset"`
	Kubeconfig          string        `env:"KUBECONFIG" want:"the path of a kubeconfig file" help:"how to reach the API server; the pod's service account if unset"`
	KubeContext         string        `env:"KUBE_CONTEXT" want:"a context of the file in KUBECONFIG" help:"context of KUBECONFIG; its current one if unset"`
	CacheUpdateInterval Duration      `env:"CACHE_UPDATE_INTERVAL" envDefault:"10s" want:"a duration such as 10s, or seconds; at least 1s" help:"how often pods are listed where they may not be watched"`
	TargetLabels        []TargetLabel `env:"TARGET_LABELS" envDefault:"k8s_pod_name=pod,k8s_namespace=namespace" want:"NAME=SOURCE pairs, separated by commas" help:"labels put on each sample; sources: pod, namespace, ip, node, uid, port, container, label:KEY, annotation:KEY"`
}

// Scrape says how targets are asked.
type Scrape struct {
	Timeout        Duration    `env:"SCRAPE_TIMEOUT" envDefault:"9s" want:"a duration such as 9s, or seconds; above 0" help:"how long targets may take, at most; less where Prometheus's own timeout is shorter"`
	ConnectTimeout Duration    `env:"CONNECT_TIMEOUT" envDefault:"2s" want:"a duration such as 2s, or seconds; above 0" help:"how long a connection to a target may take"`
	ClientWorkers  int         `env:"CLIENT_WORKERS" envDefault:"0" want:"a whole number, 0 to 1000000" help:"bodies read at a time; 0 = 8 per core; at most one for each 8 MiB of MEMORY_LIMIT; less than 8 counts as 8"`
	MaxInFlight    int         `env:"MAX_IN_FLIGHT" envDefault:"0" want:"a whole number, 0 to 1000000" help:"targets asked at a time, others wait: slow ones may leave them no time, so that they are down with reason timeout; 0 = all"`
	BodySizeLimit  Bytes       `env:"BODY_SIZE_LIMIT" envDefault:"32MiB" want:"a size such as 32MiB, 500KB or 1000000; above 0, at most 1GiB" help:"largest body of a target, decoded"`
	SampleLimit    int64       `env:"SAMPLE_LIMIT" envDefault:"0" want:"a whole number, 0 to 1000000000000" help:"most samples of a target; 0 = no limit"`
	MemoryLimit    MemoryLimit `env:"MEMORY_LIMIT" envDefault:"auto" want:"auto, none or a size such as 200MiB, at least 32MiB" help:"memory that the process may use; targets past it are down with reason memory; auto = 80 % of the container's limit, if it has one"`

	CACert                string `env:"K8S_CACERT" want:"the path of a PEM file with CA certificates" help:"certificates of authorities, besides the system's, that targets with https may be signed by"`
	TLSInsecureSkipVerify bool   `env:"TARGET_TLS_INSECURE_SKIP_VERIFY" envDefault:"false" want:"true or false" help:"do not verify the certificates of targets with https"`

	FallbackProtocol Protocol `env:"FALLBACK_SCRAPE_PROTOCOL" want:"PrometheusText0.0.4, PrometheusText1.0.0, OpenMetricsText0.0.1, OpenMetricsText1.0.0 or PrometheusProto" help:"format to assume where a target's Content-Type is missing or unknown; such a target is down if unset"`
}

// Serve says where the program listens.
type Serve struct {
	Port            int `env:"PORT" envDefault:"15090" want:"a TCP port, 1 to 65535" help:"port of /metrics and the probes"`
	MetricsHTTPPort int `env:"METRICS_HTTP_PORT" envDefault:"5055" want:"a TCP port other than PORT, 1 to 65535, or 0 for none" help:"port of the proxy's own metrics; 0 = none"`
	ServerWorkers   int `env:"SERVER_WORKERS" envDefault:"8" want:"a whole number, 0 to 1000000" help:"scrapes answered at a time, others wait; less than 8 counts as 8"`
}

// Log says what is logged, and how.
type Log struct {
	Level  Level  `env:"LOG_LEVEL" envDefault:"info" want:"debug, info, warn (or warning) or error" help:"least level that is logged"`
	Format Format `env:"LOG_FORMAT" envDefault:"logfmt" want:"logfmt or json" help:"form of the log lines"`
}

// Load reads the configuration from an environment (KEY=VALUE strings, as
// os.Environ gives). An empty value counts as unset. The notes are for the log.
// The error names each variable that is wrong, its value and the rule, one a line.
func Load(environ []string) (c Config, notes []string, err error) {
	notes, err = load(environ, &c)
	return c, notes, err
}

// LoadServe reads the Serve section alone: what a health check needs to know.
func LoadServe(environ []string) (s Serve, err error) {
	_, err = load(environ, &s)
	return s, err
}

func (c Config) check() []problem {
	return slices.Concat(c.Discovery.check(), c.Scrape.check(), c.Serve.check())
}

func (d Discovery) check() []problem {
	var problems []problem
	if selector, err := labels.Parse(d.PodLabelSelector); err != nil || selector.Empty() {
		problems = append(problems, problem{"POD_LABEL_SELECTOR", err})
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
		problems = append(problems, problem{"METRICS_HTTP_PORT", fmt.Errorf("PORT is %d too", s.Port)})
	}
	if s.ServerWorkers < 0 || s.ServerWorkers > maxPlaces {
		problems = append(problems, problem{"SERVER_WORKERS", nil})
	}
	return problems
}
