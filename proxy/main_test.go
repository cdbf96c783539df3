package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"k8s.io/client-go/util/cert"
	"k8s.io/klog/v2"

	"github.com/canonical/metrics-k8s-proxy/proxy/config"
	"github.com/canonical/metrics-k8s-proxy/proxy/server"
)

// kubeconfig writes a file with one context, named good, for the API server at the URL api.
func kubeconfig(t *testing.T, api string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config")
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: %q}}]
contexts: [{name: good, context: {cluster: c}}]
current-context: good
`, api)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// listenAnywhere listens on a free port until the test ends or release is called.
func listenAnywhere(t *testing.T) (port string, release func()) {
	t.Helper()
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	release = func() { _ = l.Close() }
	t.Cleanup(release)
	_, port, err = net.SplitHostPort(l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	return port, release
}

func freePort(t *testing.T) string {
	t.Helper()
	port, release := listenAnywhere(t)
	release()
	return port
}

func TestVersion(t *testing.T) {
	for _, arg := range []string{"--version", "-version", "version"} {
		var stdout strings.Builder
		if err := run(t.Context(), []string{arg}, nil, &stdout, io.Discard); err != nil || stdout.String() != "metrics-proxy devel\n" {
			t.Errorf("%s: printed %q, error %v", arg, stdout.String(), err)
		}
	}
}

func TestHelp(t *testing.T) {
	for _, arg := range []string{"--help", "-help", "-h", "help"} {
		var stdout, stderr strings.Builder
		err := run(t.Context(), []string{arg}, []string{"PORT=nonsense"}, &stdout, &stderr)
		if err != nil || stderr.Len() > 0 {
			t.Errorf("%s: error %v, standard error %q", arg, err, stderr.String())
		}
		for _, want := range []string{"serve", "scrape", "healthcheck", "version", "POD_LABEL_SELECTOR", "CACHE_UPDATE_INTERVAL 10s ", "METRICS_HTTP_PORT 5055 "} {
			if !strings.Contains(strings.Join(strings.Fields(stdout.String()), " "), want) {
				t.Errorf("%s: got\n%[3]s\nwant it to contain %[2]q", arg, want, stdout.String())
			}
		}
	}
}

// TestMistakes uses invalid arguments and environments. The error is a usageError, and
// nothing is printed.
func TestMistakes(t *testing.T) {
	good := kubeconfig(t, "http://127.0.0.1:1")
	absent := filepath.Join(t.TempDir(), "absent")
	broken := filepath.Join(t.TempDir(), "broken")
	if err := os.WriteFile(broken, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	const selector = "POD_LABEL_SELECTOR=app=web"
	tests := []struct {
		name    string
		args    []string
		environ []string
		want    []string
	}{
		{"unknown command", []string{"srve"}, nil, []string{`"srve"`, "expected serve, scrape, healthcheck, version or --help"}},
		{"two arguments", []string{"scrape", "--help"}, nil, []string{"2 arguments", "expected at most one"}},
		{"an empty argument", []string{""}, nil, []string{`unknown command ""`}},
		{"no selector", nil, []string{"KUBECONFIG=" + good}, []string{"POD_LABEL_SELECTOR is not set"}},
		{"no selector, explicit serve", []string{"serve"}, []string{"KUBECONFIG=" + good}, []string{"POD_LABEL_SELECTOR is not set"}},
		{"no selector for scrape", []string{"scrape"}, []string{"KUBECONFIG=" + good}, []string{"POD_LABEL_SELECTOR is not set"}},
		{"no kubeconfig", nil, []string{selector, "KUBECONFIG=" + absent}, []string{"KUBECONFIG is", absent, "expected a valid kubeconfig file"}},
		{"broken kubeconfig", nil, []string{selector, "KUBECONFIG=" + broken}, []string{"KUBECONFIG is", broken}},
		{"no such context", nil, []string{selector, "KUBECONFIG=" + good, "KUBE_CONTEXT=bad"}, []string{`KUBE_CONTEXT is "bad"`, "a context in it"}},
		{"no pod", nil, []string{selector}, []string{"KUBECONFIG is not set"}},
		{"health check with a bad port", []string{"healthcheck"}, []string{"PORT=x"}, []string{`PORT is "x": expected a TCP port`}},
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", "") // in case the tests run in a pod
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var stdout strings.Builder
			err := run(t.Context(), tt.args, tt.environ, &stdout, io.Discard)
			if bad := (usageError{}); !errors.As(err, &bad) {
				t.Fatalf("got error %v, want a usageError", err)
			}
			for _, want := range tt.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("got error %q, want it to contain %q", err, want)
				}
			}
			if stdout.Len() > 0 {
				t.Errorf("printed %q", stdout.String())
			}
		})
	}
}

func TestPortInUse(t *testing.T) {
	taken, _ := listenAnywhere(t)
	free := freePort(t)
	base := []string{"POD_LABEL_SELECTOR=app=web", "KUBECONFIG=" + kubeconfig(t, "http://127.0.0.1:1")}
	for variable, environ := range map[string][]string{
		"PORT": {"PORT=" + taken, "METRICS_HTTP_PORT=0"}, "METRICS_HTTP_PORT": {"PORT=" + free, "METRICS_HTTP_PORT=" + taken},
	} {
		err := run(t.Context(), nil, append(environ, base...), io.Discard, io.Discard)
		if err == nil || !strings.HasPrefix(err.Error(), variable+" is "+taken+": cannot listen there, expected a free port: ") {
			t.Errorf("got error %v, want one that names %s", err, variable)
		}
		if bad := (usageError{}); errors.As(err, &bad) {
			t.Errorf("%v is a usageError, but a port in use is not an error in the configuration", err)
		}
	}
	// The port that was opened before the error is released.
	l, err := net.Listen("tcp", ":"+free)
	if err != nil {
		t.Fatal(err)
	}
	_ = l.Close()
}

// TestHealthcheck checks a closed port, other servers, and proxies that are healthy and not
// healthy.
func TestHealthcheck(t *testing.T) {
	check := func(port string) error {
		return run(t.Context(), []string{"healthcheck"}, []string{"PORT=" + port}, io.Discard, io.Discard)
	}
	if err := check(freePort(t)); err == nil || !strings.Contains(err.Error(), "cannot reach the proxy") {
		t.Errorf("nothing listens: got error %v", err)
	}
	for name, tt := range map[string]struct {
		code   int
		body   string
		wantOK bool
	}{
		"healthy": {http.StatusOK, server.Healthy, true}, "another server": {http.StatusOK, "hello", false}, "unhealthy": {http.StatusInternalServerError, server.Healthy, false},
		"redirect": {http.StatusFound, server.Healthy, false},
	} {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path != "/-/healthy" {
				t.Errorf("got a request for %s", r.URL.Path)
			}
			w.WriteHeader(tt.code)
			_, _ = io.WriteString(w, tt.body)
		})}
		go func() { _ = srv.Serve(l) }()
		err = check(fmt.Sprint(l.Addr().(*net.TCPAddr).Port))
		if bad := (usageError{}); (err == nil) != tt.wantOK || errors.As(err, &bad) {
			t.Errorf("%s: got error %v", name, err)
		}
		_ = srv.Close()
	}
}

// TestHealthcheckScheme checks healthy proxies that serve http and https. Only the scheme
// that a proxy serves succeeds. The certificate is not trusted.
func TestHealthcheckScheme(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, server.Healthy) })
	plain, secured := httptest.NewServer(handler), httptest.NewUnstartedServer(handler)
	secured.Config.ErrorLog = log.New(io.Discard, "", 0)
	secured.StartTLS()
	t.Cleanup(plain.Close)
	t.Cleanup(secured.Close)
	for address, wantOK := range map[string]bool{
		plain.URL: true, secured.URL: true,
		strings.Replace(plain.URL, "http", "https", 1): false, strings.Replace(secured.URL, "https", "http", 1): false,
	} {
		if err := checkHealth(t.Context(), address); (err == nil) != wantOK {
			t.Errorf("%s: got error %v", address, err)
		}
	}
}

// TestServiceLink checks that an ignored variable is logged.
func TestServiceLink(t *testing.T) {
	taken, _ := listenAnywhere(t)
	var stderr strings.Builder
	environ := []string{"POD_LABEL_SELECTOR=app=web", "KUBECONFIG=" + kubeconfig(t, "http://127.0.0.1:1"), "PORT=" + taken, "METRICS_HTTP_PORT=tcp://10.0.0.1:80"}
	if err := run(t.Context(), nil, environ, io.Discard, &stderr); err == nil {
		t.Fatal("got no error, want one because the port is in use")
	}
	if got := strings.Count(stderr.String(), "METRICS_HTTP_PORT=tcp://10.0.0.1:80"); got != 1 {
		t.Errorf("the note was logged %d times, want once: %q", got, stderr.String())
	}
}

// TestLogFormat checks that LOG_FORMAT sets the format of the log.
func TestLogFormat(t *testing.T) {
	for format, want := range map[string]string{"": "time=", "logfmt": "time=", "json": `{"time":`} {
		var stderr strings.Builder
		environ := []string{"POD_LABEL_SELECTOR=app=web", "KUBECONFIG=" + kubeconfig(t, "http://127.0.0.1:1"), "PORT=" + freePort(t), "METRICS_HTTP_PORT=0", "LOG_FORMAT=" + format}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if err := run(ctx, nil, environ, io.Discard, &stderr); err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v", format, err)
		}
		if !strings.HasPrefix(stderr.String(), want) {
			t.Errorf("%s: logged %q", format, stderr.String())
		}
	}
}

// logged collects log output. Safe for concurrent use.
type logged struct {
	mu  sync.Mutex
	all strings.Builder
}

func (l *logged) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.all.Write(p)
}

// take returns the output since the previous call.
func (l *logged) take() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	text := l.all.String()
	l.all.Reset()
	return text
}

// TestLogOfLibraries checks that libraries log to the same output and in the same format as
// the program. Lines of the standard library's log package, such as those of net/http, are
// logged at level debug.
func TestLogOfLibraries(t *testing.T) {
	defer func(before *slog.Logger, level slog.Level, flags int) {
		slog.SetDefault(before)
		slog.SetLogLoggerLevel(level)
		log.SetFlags(flags)
		log.SetOutput(os.Stderr)
	}(slog.Default(), slog.SetLogLoggerLevel(slog.LevelInfo), log.Flags())
	for _, tt := range []struct {
		level, format        string
		plain, info, warning string
	}{
		{"debug", "json", `"level":"DEBUG","msg":"text"`, `"level":"INFO","msg":"text"`, `"level":"WARN","msg":"text"`},
		{"debug", "logfmt", `level=DEBUG msg=text`, `level=INFO msg=text`, `level=WARN msg=text`},
		{"info", "json", "", `"level":"INFO","msg":"text"`, `"level":"WARN","msg":"text"`},
		{"warn", "logfmt", "", "", `level=WARN msg=text`},
	} {
		t.Run(tt.level+" "+tt.format, func(t *testing.T) {
			var stderr logged
			environ := []string{"POD_LABEL_SELECTOR=app=web", "KUBECONFIG=" + kubeconfig(t, "http://127.0.0.1:1"), "LOG_LEVEL=" + tt.level, "LOG_FORMAT=" + tt.format}
			var server *http.Server
			if err := withConfig(environ, &stderr, func(_ config.Config, p *program) error {
				server = p.newHTTPServer(nil)
				return nil
			}); err != nil {
				t.Fatal(err)
			}
			stderr.take()
			for name, test := range map[string]struct {
				log  func()
				want string
			}{
				"log":                {func() { log.Print("text") }, tt.plain},
				"log of HTTP server": {func() { server.ErrorLog.Print("text") }, tt.plain},
				"slog":               {func() { slog.Info("text") }, tt.info},
				"slog, a warning":    {func() { slog.Warn("text") }, tt.warning},
				"klog":               {func() { klog.Info("text") }, tt.info},
			} {
				test.log()
				got := stderr.take()
				if !strings.Contains(got, test.want) || (got == "") != (test.want == "") {
					t.Errorf("%s: logged %q, want %q", name, got, test.want)
				}
			}
		})
	}
}

func TestShardIndex(t *testing.T) {
	for _, test := range []struct {
		index config.ShardIndex
		count int
		host  string
		want  int // -1 = an error
	}{
		{2, 3, "any", 2},
		{config.AutoShardIndex, 3, "proxy-2", 2},
		{config.AutoShardIndex, 3, "metrics-proxy-10-0", 0},
		{config.AutoShardIndex, 3, "proxy-3", -1},
		{config.AutoShardIndex, 3, "proxy-7d9c5b6f4-x2x9q", -1},
		{config.AutoShardIndex, 3, "proxy-99999999999999999999", -1},
		{config.AutoShardIndex, 3, "2", -1},
	} {
		got, err := shardIndex(config.Discovery{ShardIndex: test.index, ShardCount: test.count}, func() (string, error) { return test.host, nil })
		if test.want < 0 {
			if want := `SHARD_INDEX is auto, SHARD_COUNT is 3 and the host name is "` + test.host + `": expected `; err == nil || !strings.HasPrefix(err.Error(), want) {
				t.Errorf("host %s: got error %v, want %s", test.host, err, want)
			}
		} else if err != nil || got != test.want {
			t.Errorf("host %s: got index %d, error %v, want %d", test.host, got, err, test.want)
		}
	}
}

func TestCACertificates(t *testing.T) {
	good, _, err := cert.GenerateSelfSignedCertKey("a", nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	write := func(content string) string {
		path := filepath.Join(t.TempDir(), "ca.pem")
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	if _, err := targetTLS(config.Scrape{CACert: write(string(good))}); err != nil {
		t.Errorf("with a certificate: %v", err)
	}
	corrupt := string(good) + "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"
	for path, detail := range map[string]string{
		"/no/such/file": "no such file", write("nothing"): "does not contain any valid", write(corrupt): "malformed certificate",
	} {
		_, err := targetTLS(config.Scrape{CACert: path})
		if want := fmt.Sprintf("K8S_CACERT is %q: expected the path of a PEM file", path); err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), detail) {
			t.Errorf("got error %v, want %s ... %s", err, want, detail)
		}
	}
}
