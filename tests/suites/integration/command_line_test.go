package integration

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/tools/clientcmd/api"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// runProxy runs the program until it exits.
func runProxy(t *testing.T, env []string, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var out, err strings.Builder
	cmd := exec.CommandContext(ctx, shared.binary, args...)
	cmd.Env = env
	cmd.Stdout, cmd.Stderr = &out, &err
	_ = cmd.Run() // the exit code is returned
	return cmd.ProcessState.ExitCode(), out.String(), err.String()
}

// withGarbageKey writes a kubeconfig whose user has a client certificate and an invalid key.
func withGarbageKey(t *testing.T) string {
	t.Helper()
	path := kubeconfig(t)
	config, err := clientcmd.LoadFromFile(path)
	must(t, err)
	certificate, key := filepath.Join(t.TempDir(), "user.crt"), filepath.Join(t.TempDir(), "user.key")
	must(t, os.WriteFile(certificate, config.Clusters["testbed"].CertificateAuthorityData, 0o600))
	must(t, os.WriteFile(key, []byte("garbage"), 0o600))
	config.AuthInfos["testbed"] = &api.AuthInfo{ClientCertificate: certificate, ClientKey: key}
	must(t, clientcmd.WriteToFile(*config, path))
	return path
}

// TestInvalidConfiguration checks that each mistake ends the program before it listens, with
// one message that names the variable, the value and the rule.
func TestInvalidConfiguration(t *testing.T) {
	good := []string{"POD_LABEL_SELECTOR=a=b", "KUBECONFIG=" + kubeconfig(t)}
	garbageKey := withGarbageKey(t)
	for _, test := range []struct {
		env  string
		want []string
	}{
		{"POD_LABEL_SELECTOR=", []string{"POD_LABEL_SELECTOR is not set", "selector"}},
		{"POD_LABEL_SELECTOR=a in", []string{"POD_LABEL_SELECTOR", `"a in"`, "selector"}},
		{"SCRAPE_TIMEOUT=soon", []string{"SCRAPE_TIMEOUT", `"soon"`, "duration"}},
		{"SCRAPE_TIMEOUT=-1s", []string{"SCRAPE_TIMEOUT", `"-1s"`, "above 0"}},
		{"PORT=0", []string{"PORT", `"0"`, "1 to 65535"}},
		{"PORT=70000", []string{"PORT", `"70000"`, "1 to 65535"}},
		{"PORT=http", []string{"PORT", `"http"`, "1 to 65535"}},
		{"METRICS_HTTP_PORT=15090", []string{"METRICS_HTTP_PORT", `"15090"`, "other than PORT"}},
		{"TARGET_LABELS=a-b=pod", []string{"TARGET_LABELS", `"a-b=pod"`, "invalid label name"}},
		{"TARGET_LABELS=a=pod,a=ip", []string{"TARGET_LABELS", "twice"}},
		{"TARGET_LABELS=a=color", []string{"TARGET_LABELS", `"color"`, "label:KEY"}},
		{"BODY_SIZE_LIMIT=much", []string{"BODY_SIZE_LIMIT", `"much"`, "32MiB"}},
		{"MAX_IN_FLIGHT=-1", []string{"MAX_IN_FLIGHT", `"-1"`, "0 to 1000000"}},
		{"SERVER_WORKERS=9223372036854775807", []string{"SERVER_WORKERS", `"9223372036854775807"`, "0 to 1000000"}},
		{"LOG_LEVEL=loud", []string{"LOG_LEVEL", `"loud"`, "warning"}},
		{"LOG_FORMAT=xml", []string{"LOG_FORMAT", `"xml"`, "logfmt or json"}},
		{"NAMESPACES=A", []string{"NAMESPACES", `"A"`, "lower case"}},
		{"CACHE_UPDATE_INTERVAL=0", []string{"CACHE_UPDATE_INTERVAL", `"0"`, "at least 1s"}},
		{"KUBECONFIG=/no/such/file", []string{"KUBECONFIG", `"/no/such/file"`}},
		{"KUBECONFIG=" + garbageKey, []string{"KUBECONFIG", garbageKey, "client certificate and key"}},
		{"KUBECONFIG=", []string{"KUBECONFIG is not set"}},
		{"KUBE_CONTEXT=other", []string{"KUBE_CONTEXT", `"other"`}},
	} {
		code, stdout, stderr := runProxy(t, append(good, test.env))
		if code != 2 || stdout != "" || strings.Count(stderr, "\n") != 1 || strings.Contains(stderr, "listens") {
			t.Errorf("%s: exit code %d, want 2, and one line on stderr\n%s%s", test.env, code, stdout, stderr)
		}
		for _, want := range test.want {
			if !strings.Contains(stderr, want) {
				t.Errorf("%s: no %s in the message: %s", test.env, want, stderr)
			}
		}
	}
	if code, _, stderr := runProxy(t, good, "dance"); code != 2 || !strings.Contains(stderr, `"dance"`) {
		t.Errorf("unknown command: exit code %d: %s", code, stderr)
	}
}

func TestServiceLinksAreIgnored(t *testing.T) {
	proxy := startProxy(t, "links", map[string]string{"METRICS_HTTP_PORT": "tcp://10.0.0.1:80", "LOG_FORMAT": "json"})
	if n := strings.Count(proxy.Log(), "tcp://10.0.0.1:80"); n != 1 {
		t.Errorf("%d log lines have the value of the service link, want 1:\n%s", n, proxy.Log())
	}
	for line := range strings.Lines(proxy.Log()) {
		if !strings.HasPrefix(line, "{") {
			t.Errorf("a log line is not JSON: %s", line)
		}
	}
}

func TestPortInUse(t *testing.T) {
	l, err := net.Listen("tcp", ":0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	for _, variable := range []string{"PORT", "METRICS_HTTP_PORT"} {
		free, err := testbed.FreePort()
		if err != nil {
			t.Fatal(err)
		}
		env := []string{"POD_LABEL_SELECTOR=a", "KUBECONFIG=" + kubeconfig(t), fmt.Sprintf("PORT=%d", free), "METRICS_HTTP_PORT=0", variable + "=" + port}
		if code, _, stderr := runProxy(t, env); code != 1 || !strings.Contains(stderr, variable+" is "+port) {
			t.Errorf("%s: exit code %d, want 1: %s", variable, code, stderr)
		}
	}
}

func TestHealthcheck(t *testing.T) {
	proxy := startProxy(t, "health", nil)
	_, port, _ := net.SplitHostPort(proxy.Address())
	if code, _, stderr := runProxy(t, []string{"PORT=" + port}, "healthcheck"); code != 0 {
		t.Errorf("exit code %d with a running proxy, want 0: %s", code, stderr)
	}
	free, err := testbed.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	if code, _, stderr := runProxy(t, []string{fmt.Sprintf("PORT=%d", free)}, "healthcheck"); code != 1 || stderr == "" {
		t.Errorf("exit code %d without a proxy, want 1 and a message: %s", code, stderr)
	}
	other := pod(t, "health", 4000, exporter.Replay([]byte("a 1\n")))
	if code, _, _ := runProxy(t, []string{"PORT=" + other.Annotations["prometheus.io/port"]}, "healthcheck"); code != 1 {
		t.Errorf("exit code %d with another server on the port, want 1", code)
	}
}

func TestScrapeCommand(t *testing.T) {
	a := pod(t, "once", 4100, exporter.Replay([]byte("a 1\n")))
	createPods(t, a)
	env := []string{"POD_LABEL_SELECTOR=test=once", "ALLOW_RESERVED_TARGETS=true", "KUBECONFIG=" + kubeconfig(t)}
	line := fmt.Sprintf("a{k8s_pod_name=%q,k8s_namespace=\"once\"} 1\n", a.Name)
	if code, stdout, stderr := runProxy(t, env, "scrape"); code != 0 || !strings.Contains(stdout, line) {
		t.Errorf("exit code %d\n%s%s", code, stdout, stderr)
	}
	b := pod(t, "once", 4101, exporter.Status(500))
	createPods(t, b)
	code, stdout, stderr := runProxy(t, env, "scrape")
	if code != 1 || !strings.Contains(stdout, line) || !strings.Contains(stderr, b.Name) || !strings.Contains(stderr, "status") {
		t.Errorf("exit code %d with a target down\n%s%s", code, stdout, stderr)
	}
}

// TestGracefulShutdown checks that the scrape in flight is completed after SIGTERM.
func TestGracefulShutdown(t *testing.T) {
	started, release := make(chan struct{}), make(chan struct{})
	p := pod(t, "term", 4200, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(started)
		<-release
		w.Header().Set("Content-Type", exporter.TextFormat)
		fmt.Fprintln(w, "a 1")
	}))
	createPods(t, p)
	proxy := startProxy(t, "term", nil)
	response := make(chan string)
	go func() {
		body, err := proxy.Metrics(t.Context())
		response <- fmt.Sprintf("%s%v", body, err)
	}()
	<-started
	must(t, proxy.Process.Signal(syscall.SIGTERM))
	eventually(t, func() error {
		if listens(proxy.Address()) == nil {
			return fmt.Errorf("the proxy accepts new connections after SIGTERM")
		}
		return nil
	})
	close(release)
	if got := <-response; !strings.Contains(got, `k8s_namespace="term"} 1`) || !strings.HasSuffix(got, "<nil>") {
		t.Errorf("the scrape in flight returned\n%s", got)
	}
	if code, err := proxy.Process.Wait(t.Context()); code != 0 || err != nil {
		t.Errorf("exit code %d (%v), want 0\n%s", code, err, proxy.Log())
	}
}

// TestProxyAsItsOwnTarget checks that a proxy that is one of its own targets does not scrape
// itself in a loop.
func TestProxyAsItsOwnTarget(t *testing.T) {
	free, err := testbed.FreePort()
	if err != nil {
		t.Fatal(err)
	}
	createPods(t, testbed.Pod{
		Namespace: "circle", Name: "proxy", Labels: map[string]string{"test": "circle"},
		IPs: []string{"127.0.0.1"}, Annotations: testbed.ScrapeAnnotations(free, ""),
	}, pod(t, "circle", 4300, exporter.Replay([]byte("a 1\n"))))
	proxy := startProxy(t, "circle", map[string]string{"PORT": fmt.Sprint(free)})
	_, response := get(t, proxy.URL("/metrics"), nil)
	if up := ups(response); up["proxy"] || !up["circle-4300"] || len(up) != 2 {
		t.Errorf("targets are %v\n%s", up, response)
	}
}
