package config

import (
	"log/slog"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"
)

// environment is a minimal valid environment with changes. An empty value unsets a
// variable.
func environment(changes map[string]string) []string {
	all := map[string]string{"POD_LABEL_SELECTOR": "app=web", "PATH": "/bin", "HOME": ""}
	maps.Copy(all, changes)
	var environ []string
	for variable, value := range all {
		environ = append(environ, variable+"="+value)
	}
	return environ
}

func mustLoad(t *testing.T, changes map[string]string) Config {
	t.Helper()
	c, notes, err := Load(environment(changes))
	if err != nil || len(notes) > 0 {
		t.Fatalf("Load with %v: error %v, notes %q", changes, err, notes)
	}
	return c
}

func TestDefaults(t *testing.T) {
	unset := map[string]string{"NAMESPACES": "", "PORT": "", "SCRAPE_TIMEOUT": "", "TARGET_LABELS": "", "BODY_SIZE_LIMIT": ""}
	for _, changes := range []map[string]string{nil, unset} {
		c := mustLoad(t, changes)
		if got, want := c.Scrape, (Scrape{Timeout: Duration(9 * time.Second), ConnectTimeout: Duration(2 * time.Second), BodySizeLimit: 32 << 20, MemoryLimit: AutoMemoryLimit}); got != want {
			t.Errorf("Scrape is %+v, want %+v", got, want)
		}
		if got, want := c.Serve, (Serve{Port: 15090, MetricsHTTPPort: 5055, ServerWorkers: 8, MaxConnections: 512}); got != want {
			t.Errorf("Serve is %+v, want %+v", got, want)
		}
		if got, want := c.Log, (Log{Level: Level(slog.LevelInfo), Format: "logfmt"}); got != want {
			t.Errorf("Log is %+v, want %+v", got, want)
		}
		d := c.Discovery
		if d.PodLabelSelector != "app=web" || len(d.Namespaces) > 0 || d.NodeName+d.Kubeconfig+d.KubeContext != "" || d.CacheUpdateInterval != Duration(10*time.Second) {
			t.Errorf("Discovery is %+v", d)
		}
		if want := []TargetLabel{{Name: "k8s_pod_name", Source: "pod"}, {Name: "k8s_namespace", Source: "namespace"}}; !slices.Equal(d.TargetLabels, want) {
			t.Errorf("TargetLabels are %+v, want %+v", d.TargetLabels, want)
		}
	}
}

// TestGood has valid values, one per line, and what each is parsed to.
func TestGood(t *testing.T) {
	timeout := func(c Config) any { return time.Duration(c.Scrape.Timeout) }
	size := func(c Config) any { return int(c.Scrape.BodySizeLimit) }
	samples := func(c Config) any { return c.Scrape.SampleLimit }
	level := func(c Config) any { return slog.Level(c.Log.Level) }
	port := func(c Config) any { return c.Serve.Port }
	selector := func(c Config) any { return c.Discovery.PodLabelSelector }
	node := func(c Config) any { return c.Discovery.NodeName }
	fallback := func(c Config) any { return c.Scrape.FallbackProtocol.ContentType() }
	first := func(c Config) any { return c.Discovery.TargetLabels[0] }
	namespaces := func(c Config) any {
		var names []string
		for _, ns := range c.Discovery.Namespaces {
			names = append(names, string(ns))
		}
		return strings.Join(names, "|")
	}
	tests := []struct {
		variable, value string
		got             func(Config) any
		want            any
	}{
		{"SCRAPE_TIMEOUT", "15s", timeout, 15 * time.Second},
		{"SCRAPE_TIMEOUT", "1m30s", timeout, 90 * time.Second},
		{"SCRAPE_TIMEOUT", "15", timeout, 15 * time.Second},
		{"SCRAPE_TIMEOUT", "0.5", timeout, 500 * time.Millisecond},
		{"SCRAPE_TIMEOUT", "250ms", timeout, 250 * time.Millisecond},
		{"CONNECT_TIMEOUT", "3", func(c Config) any { return time.Duration(c.Scrape.ConnectTimeout) }, 3 * time.Second},
		{"CACHE_UPDATE_INTERVAL", "1", func(c Config) any { return time.Duration(c.Discovery.CacheUpdateInterval) }, time.Second},
		{"BODY_SIZE_LIMIT", "1000000", size, 1000000},
		{"BODY_SIZE_LIMIT", "500K", size, 500000},
		{"BODY_SIZE_LIMIT", "500KB", size, 500000},
		{"BODY_SIZE_LIMIT", "500kB", size, 500000},
		{"BODY_SIZE_LIMIT", "64Ki", size, 64 << 10},
		{"BODY_SIZE_LIMIT", "64 KiB", size, 64 << 10},
		{"BODY_SIZE_LIMIT", "64MiB", size, 64 << 20},
		{"BODY_SIZE_LIMIT", "5M", size, 5000000},
		{"BODY_SIZE_LIMIT", "0.5MB", size, 500000},
		{"BODY_SIZE_LIMIT", "1GiB", size, 1 << 30},
		{"BODY_SIZE_LIMIT", "1GB", size, 1000000000},
		{"BODY_SIZE_LIMIT", "1B", size, 1},
		{"LOG_LEVEL", "debug", level, slog.LevelDebug},
		{"LOG_LEVEL", "warn", level, slog.LevelWarn},
		{"LOG_LEVEL", "warning", level, slog.LevelWarn},
		{"LOG_LEVEL", "WARNING", level, slog.LevelWarn},
		{"LOG_LEVEL", "error", level, slog.LevelError},
		{"LOG_FORMAT", "JSON", func(c Config) any { return c.Log.Format }, Format("json")},
		{"PORT", "1", port, 1},
		{"PORT", "65535", port, 65535},
		{"METRICS_HTTP_PORT", "0", func(c Config) any { return c.Serve.MetricsHTTPPort }, 0},
		{"CLIENT_WORKERS", "2", func(c Config) any { return c.Scrape.ClientWorkers }, 2},
		{"MAX_IN_FLIGHT", "100", func(c Config) any { return c.Scrape.MaxInFlight }, 100},
		{"MEMORY_LIMIT", "200MiB", func(c Config) any { return c.Scrape.MemoryLimit }, MemoryLimit(200 << 20)},
		{"MEMORY_LIMIT", "none", func(c Config) any { return c.Scrape.MemoryLimit }, MemoryLimit(0)},
		{"MEMORY_LIMIT", "", func(c Config) any { return c.Scrape.MemoryLimit }, AutoMemoryLimit},
		{"MAX_IN_FLIGHT", "1000000", func(c Config) any { return c.Scrape.MaxInFlight }, 1000000},
		{"CLIENT_WORKERS", "1000000", func(c Config) any { return c.Scrape.ClientWorkers }, 1000000},
		{"SAMPLE_LIMIT", "5000", samples, int64(5000)},
		{"SAMPLE_LIMIT", "3000000000", samples, int64(3000000000)},
		{"SAMPLE_LIMIT", "1000000000000", samples, int64(1000000000000)},
		{"MAX_CONNECTIONS", "1", func(c Config) any { return c.Serve.MaxConnections }, 1},
		{"MAX_CONNECTIONS", "1000000", func(c Config) any { return c.Serve.MaxConnections }, 1000000},
		{"SERVER_WORKERS", "0", func(c Config) any { return c.Serve.ServerWorkers }, 0},
		{"SERVER_WORKERS", "1000000", func(c Config) any { return c.Serve.ServerWorkers }, 1000000},
		{"FALLBACK_SCRAPE_PROTOCOL", "PrometheusText0.0.4", fallback, "text/plain; version=0.0.4"},
		{"FALLBACK_SCRAPE_PROTOCOL", "PrometheusText1.0.0", fallback, "text/plain; version=1.0.0"},
		{"FALLBACK_SCRAPE_PROTOCOL", "OpenMetricsText0.0.1", fallback, "application/openmetrics-text; version=0.0.1"},
		{"FALLBACK_SCRAPE_PROTOCOL", "OpenMetricsText1.0.0", fallback, "application/openmetrics-text; version=1.0.0"},
		{"FALLBACK_SCRAPE_PROTOCOL", "PrometheusProto", fallback, "application/vnd.google.protobuf; proto=io.prometheus.client.MetricFamily; encoding=delimited"},
		{"FALLBACK_SCRAPE_PROTOCOL", "", fallback, ""},
		{"NODE_NAME", "ip-10-0-0-1.ec2.internal", node, "ip-10-0-0-1.ec2.internal"},
		{"POD_LABEL_SELECTOR", "app=web,tier in (a,b),!canary,release", selector, "app=web,tier in (a,b),!canary,release"},
		{"SHARD_COUNT", "1000", func(c Config) any { return c.Discovery.ShardCount }, 1000},
		{"SHARD_INDEX", "0", func(c Config) any { return c.Discovery.ShardIndex }, ShardIndex(0)},
		{"SHARD_INDEX", "auto", func(c Config) any { return c.Discovery.ShardIndex }, AutoShardIndex},
		{"K8S_CACERT", "/etc/ca.crt", func(c Config) any { return c.Scrape.CACert }, "/etc/ca.crt"},
		{"TARGET_TLS_INSECURE_SKIP_VERIFY", "true", func(c Config) any { return c.Scrape.TLSInsecureSkipVerify }, true},
		{"NAMESPACES", "default", namespaces, "default"},
		{"NAMESPACES", "a, b ,c", namespaces, "a|b|c"},
		{"TARGET_LABELS", "x=pod", first, TargetLabel{Name: "x", Source: "pod"}},
		{"TARGET_LABELS", "x=namespace", first, TargetLabel{Name: "x", Source: "namespace"}},
		{"TARGET_LABELS", "x=ip", first, TargetLabel{Name: "x", Source: "ip"}},
		{"TARGET_LABELS", "x=node", first, TargetLabel{Name: "x", Source: "node"}},
		{"TARGET_LABELS", "x=uid", first, TargetLabel{Name: "x", Source: "uid"}},
		{"TARGET_LABELS", "x=port", first, TargetLabel{Name: "x", Source: "port"}},
		{"TARGET_LABELS", "x=container", first, TargetLabel{Name: "x", Source: "container"}},
		{"TARGET_LABELS", "_X9 = label:app.kubernetes.io/name , y=pod", first, TargetLabel{Name: "_X9", Source: "label", Key: "app.kubernetes.io/name"}},
		{"TARGET_LABELS", "x=annotation:Example.com/Team", first, TargetLabel{Name: "x", Source: "annotation", Key: "Example.com/Team"}},
	}
	for _, tt := range tests {
		t.Run(tt.variable+"="+tt.value, func(t *testing.T) {
			if got := tt.got(mustLoad(t, map[string]string{tt.variable: tt.value})); got != tt.want {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}

// TestBad has invalid values, one per line. The message is a single line that names the
// variable and the value, states the rule of the variable, and adds the detail if there is
// one.
func TestBad(t *testing.T) {
	rules := map[string]string{}
	for _, s := range allSettings() {
		rules[s.variable] = s.rule
	}
	tests := []struct{ variable, value, detail string }{
		{"POD_LABEL_SELECTOR", "app in web", "found 'web'"},
		{"POD_LABEL_SELECTOR", "a=b=c", "found '='"},
		{"POD_LABEL_SELECTOR", "-app=web", "name part must consist of"},
		{"POD_LABEL_SELECTOR", " ", ""},
		{"NAMESPACES", "a,B", `"B": a lowercase`},
		{"NAMESPACES", "a,,b", `"": a lowercase`},
		{"NAMESPACES", "a b", `"a b": a lowercase`},
		{"NODE_NAME", "Node_1", "a lowercase RFC 1123 subdomain"},
		{"SHARD_COUNT", "0", ""},
		{"SHARD_COUNT", "1001", ""},
		{"SHARD_COUNT", "two", ""},
		{"SHARD_INDEX", "1", "SHARD_COUNT is 1"},
		{"SHARD_INDEX", "-1", ""},
		{"SHARD_INDEX", "Auto", ""},
		{"SHARD_INDEX", "99999999999", ""},
		{"TARGET_TLS_INSECURE_SKIP_VERIFY", "maybe", ""},
		{"KUBE_CONTEXT", "prod", "KUBECONFIG is not set"},
		{"CACHE_UPDATE_INTERVAL", "0", ""},
		{"CACHE_UPDATE_INTERVAL", "500ms", ""},
		{"CACHE_UPDATE_INTERVAL", "often", ""},
		{"SCRAPE_TIMEOUT", "0", ""},
		{"SCRAPE_TIMEOUT", "-1s", ""},
		{"SCRAPE_TIMEOUT", "nan", ""},
		{"SCRAPE_TIMEOUT", "inf", ""},
		{"SCRAPE_TIMEOUT", "9 s", ""},
		{"SCRAPE_TIMEOUT", "99999999999", ""},
		{"CONNECT_TIMEOUT", "0s", ""},
		{"CONNECT_TIMEOUT", "2 seconds", ""},
		{"CLIENT_WORKERS", "-1", ""},
		{"CLIENT_WORKERS", "two", ""},
		{"MAX_IN_FLIGHT", "-1", ""},
		{"CLIENT_WORKERS", "1000001", ""},
		{"CLIENT_WORKERS", "9223372036854775807", ""},
		{"MAX_IN_FLIGHT", "1.5", ""},
		{"MAX_IN_FLIGHT", "1000001", ""},
		{"MAX_IN_FLIGHT", "9223372036854775807", ""},
		{"MAX_CONNECTIONS", "0", ""},
		{"MAX_CONNECTIONS", "1000001", ""},
		{"MAX_CONNECTIONS", "many", ""},
		{"SAMPLE_LIMIT", "-1", ""},
		{"SAMPLE_LIMIT", "1000000000001", ""},
		{"SAMPLE_LIMIT", "9223372036854775807", ""},
		{"SAMPLE_LIMIT", "99999999999999999999", ""},
		{"MEMORY_LIMIT", "0", ""},
		{"MEMORY_LIMIT", "31MiB", ""},
		{"MEMORY_LIMIT", "much", ""},
		{"SERVER_WORKERS", "-1", ""},
		{"SERVER_WORKERS", "1000001", ""},
		{"SERVER_WORKERS", "9223372036854775807", ""},
		{"FALLBACK_SCRAPE_PROTOCOL", "prometheustext0.0.4", ""},
		{"FALLBACK_SCRAPE_PROTOCOL", "PrometheusText0.0.4 ", ""},
		{"FALLBACK_SCRAPE_PROTOCOL", "text/plain; version=0.0.4", ""},
		{"FALLBACK_SCRAPE_PROTOCOL", "OpenMetricsText2.0.0", ""},
		{"FALLBACK_SCRAPE_PROTOCOL", " ", ""},
		{"BODY_SIZE_LIMIT", "0", ""},
		{"BODY_SIZE_LIMIT", "0.1", ""},
		{"BODY_SIZE_LIMIT", "-5MB", ""},
		{"BODY_SIZE_LIMIT", "1025MiB", ""},
		{"BODY_SIZE_LIMIT", "1TB", ""},
		{"BODY_SIZE_LIMIT", "MB", ""},
		{"BODY_SIZE_LIMIT", "nan", ""},
		{"BODY_SIZE_LIMIT", "1e30", ""},
		{"BODY_SIZE_LIMIT", "big", ""},
		{"PORT", "0", ""},
		{"PORT", "-1", ""},
		{"PORT", "65536", ""},
		{"PORT", "http", ""},
		{"PORT", "http://10.0.0.1:80", ""},
		{"PORT", " 80", ""},
		{"METRICS_HTTP_PORT", "-1", ""},
		{"METRICS_HTTP_PORT", "65536", ""},
		{"METRICS_HTTP_PORT", "15090", "PORT is also 15090"},
		{"LOG_LEVEL", "loud", ""},
		{"LOG_FORMAT", "xml", ""},
		{"TARGET_LABELS", "x", `"" is not a source: expected pod, namespace, ip, node, uid, port, container, label:KEY or annotation:KEY`},
		{"TARGET_LABELS", "x=podname", `"podname" is not a source`},
		{"TARGET_LABELS", "x=pod:web", `"pod:web" is not a source`},
		{"TARGET_LABELS", "x=label", `"" is not a valid label key`},
		{"TARGET_LABELS", "x=label:", `"" is not a valid label key`},
		{"TARGET_LABELS", "x=annotation:a b", `"a b" is not a valid annotation key`},
		{"TARGET_LABELS", "=pod", `invalid label name ""`},
		{"TARGET_LABELS", "9x=pod", `invalid label name "9x"`},
		{"TARGET_LABELS", "a.b=pod", `invalid label name "a.b"`},
		{"TARGET_LABELS", "a:b=pod", `invalid label name "a:b"`},
		{"TARGET_LABELS", "__name__=pod", `invalid label name "__name__"`},
		{"TARGET_LABELS", "__name=pod", `invalid label name "__name"`},
		{"TARGET_LABELS", "le=pod", "label le is reserved for histograms"},
		{"TARGET_LABELS", "quantile=pod", "label quantile is reserved for"},
		{"TARGET_LABELS", "x=pod,y=ip,x=node", "label x is defined twice"},
		{"TARGET_LABELS", "x=pod,", `invalid label name ""`},
	}
	for _, tt := range tests {
		t.Run(tt.variable+"="+tt.value, func(t *testing.T) {
			_, _, err := Load(environment(map[string]string{tt.variable: tt.value}))
			if err == nil {
				t.Fatal("no error")
			}
			got := err.Error()
			if strings.Contains(got, "\n") {
				t.Errorf("more than one line: %s", got)
			}
			want := tt.variable + ` is "` + tt.value + `": expected ` + rules[tt.variable]
			if !strings.HasPrefix(got, want) || !strings.Contains(got, tt.detail) {
				t.Errorf("got\n\t%s\nwant\n\t%s ... %s", got, want, tt.detail)
			}
			if tt.detail == "" && tt.variable != "POD_LABEL_SELECTOR" && got != want {
				t.Errorf("got\n\t%s\nwant no more than\n\t%s", got, want)
			}
		})
	}
}

// TestSeveralMistakes expects one message for each invalid variable, sorted, whether the
// value cannot be parsed or fails its check.
func TestSeveralMistakes(t *testing.T) {
	tests := []struct {
		name    string
		changes map[string]string
		want    []string // prefixes of the messages
	}{
		{"the selector is missing", map[string]string{"POD_LABEL_SELECTOR": ""}, []string{"POD_LABEL_SELECTOR is not set: expected a Kubernetes label selector"}},
		{"unreadable", map[string]string{"SCRAPE_TIMEOUT": "soon", "LOG_LEVEL": "loud", "TARGET_LABELS": "x=y"},
			[]string{`LOG_LEVEL is "loud"`, `SCRAPE_TIMEOUT is "soon"`, `TARGET_LABELS is "x=y"`}},
		{"broken rules", map[string]string{"SCRAPE_TIMEOUT": "0", "PORT": "0", "SAMPLE_LIMIT": "-1", "MAX_IN_FLIGHT": "-1"},
			[]string{`MAX_IN_FLIGHT is "-1"`, `PORT is "0"`, `SAMPLE_LIMIT is "-1"`, `SCRAPE_TIMEOUT is "0"`}},
		{"both", map[string]string{"POD_LABEL_SELECTOR": "", "PORT": "http", "MAX_IN_FLIGHT": "-1", "LOG_FORMAT": "xml", "SCRAPE_TIMEOUT": "soon"},
			[]string{`LOG_FORMAT is "xml"`, `MAX_IN_FLIGHT is "-1"`, "POD_LABEL_SELECTOR is not set", `PORT is "http"`, `SCRAPE_TIMEOUT is "soon"`}},
		{"equal ports", map[string]string{"PORT": "80", "METRICS_HTTP_PORT": "80"}, []string{`METRICS_HTTP_PORT is "80": expected a TCP port other than PORT, 1 to 65535, or 0 for none: PORT is also 80`}},
		{"equal ports, one a default", map[string]string{"PORT": "5055"}, []string{`METRICS_HTTP_PORT is "5055"`}},
		{"equal ports out of range", map[string]string{"PORT": "70000", "METRICS_HTTP_PORT": "70000"}, []string{`METRICS_HTTP_PORT is "70000"`, `PORT is "70000"`}},
		{"a port of 0 is no port", map[string]string{"PORT": "0", "METRICS_HTTP_PORT": "0"}, []string{`PORT is "0"`}},
		{"an unreadable port is no port", map[string]string{"PORT": "x", "METRICS_HTTP_PORT": "0"}, []string{`PORT is "x"`}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, _, err := Load(environment(tt.changes))
			if err == nil {
				t.Fatal("no error")
			}
			got := strings.Split(err.Error(), "\n")
			if !slices.EqualFunc(got, tt.want, strings.HasPrefix) {
				t.Errorf("got\n\t%s\nwant\n\t%s", strings.Join(got, "\n\t"), strings.Join(tt.want, "\n\t"))
			}
		})
	}
}

func TestServiceLinks(t *testing.T) {
	for _, scheme := range []string{"tcp", "udp", "sctp"} {
		link := scheme + "://10.0.0.1:80"
		c, notes, err := Load(environment(map[string]string{"METRICS_HTTP_PORT": link}))
		if err != nil || c.Serve.MetricsHTTPPort != 5055 {
			t.Errorf("%s: error %v, port %d, want the default", link, err, c.Serve.MetricsHTTPPort)
		}
		if len(notes) != 1 || !strings.Contains(notes[0], "METRICS_HTTP_PORT="+link) || !strings.Contains(notes[0], "ignored") {
			t.Errorf("%s: notes %q, want one that names it", link, notes)
		}
	}
	for _, changes := range []map[string]string{{"SCRAPE_TIMEOUT": "tcp://10.0.0.1:80"}, {"METRICS_HTTP_PORT": "tcp:80"}} {
		if _, notes, err := Load(environment(changes)); err == nil || len(notes) > 0 {
			t.Errorf("%v: error %v, notes %q, want an error: this is not a service link", changes, err, notes)
		}
	}
	// Variables that are not settings are ignored.
	if _, notes, err := Load(environment(map[string]string{"WEB_PORT": "tcp://10.0.0.1:80"})); err != nil || len(notes) > 0 {
		t.Errorf("WEB_PORT: error %v, notes %q", err, notes)
	}
}

// TestEnvironIsAll checks that the environment of the process itself is not read.
func TestEnvironIsAll(t *testing.T) {
	t.Setenv("POD_LABEL_SELECTOR", "app=web")
	t.Setenv("PORT", "1")
	if s, err := LoadServe(nil); err != nil || s.Port != 15090 {
		t.Errorf("Port is %d, error %v, want the default", s.Port, err)
	}
	if _, _, err := Load(nil); err == nil {
		t.Error("Load(nil) found a selector")
	}
}

func TestLoadServe(t *testing.T) {
	s, err := LoadServe([]string{"PORT=8080", "METRICS_HTTP_PORT=tcp://10.0.0.1:80", "SCRAPE_TIMEOUT=soon"})
	if err != nil || s.Port != 8080 || s.MetricsHTTPPort != 5055 {
		t.Errorf("LoadServe is %+v, error %v, want port 8080 and no check of other sections", s, err)
	}
	if _, err := LoadServe([]string{"PORT=x"}); err == nil || !strings.Contains(err.Error(), `PORT is "x": expected a TCP port`) {
		t.Errorf("error is %v, want one that names PORT", err)
	}
}
