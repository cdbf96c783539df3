package integration

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// TestAPIServerRestarts checks that, while the API server is unreachable, the proxy scrapes the
// last known targets and exposes their staleness. Afterwards it must discover all changes
// that it missed.
func TestAPIServerRestarts(t *testing.T) {
	ctx, cluster := t.Context(), shared.cluster
	a, b, c := podWithSample(t, "restart", 6100), podWithSample(t, "restart", 6101), podWithSample(t, "restart", 6102)
	createPods(t, a, b)
	link := newForwarder(t, strings.TrimPrefix(cluster.Server, "https://"))
	config, err := cluster.Kubeconfig(cluster.Proxy, "https://"+link.address)
	must(t, err)
	proxy := startProxy(t, "restart", map[string]string{"KUBECONFIG": config})
	wantSamples(t, proxy, a.Name, b.Name)
	wantOwnMetric(t, proxy, `metrics_proxy_discovery_staleness_seconds{namespace=""} 0`)
	before := resourceVersion(t, "restart")

	link.off()
	must(t, cluster.DeletePod(ctx, a.Namespace, a.Name))
	createPods(t, c)
	eventually(t, func() error {
		if s := staleness(t, proxy); s < 1 {
			return fmt.Errorf("staleness is %g s", s)
		}
		return nil
	})
	wantSamples(t, proxy, a.Name, b.Name)
	wantUnreachable(t, proxy, link.address)

	// A restarted API server has no events for the old resource version: 410 Gone.
	must(t, cluster.StopServer())
	must(t, cluster.StartServer(ctx))
	wantGone(t, "restart", before)
	link.on()
	wantSamples(t, proxy, b.Name, c.Name)
	wantOwnMetric(t, proxy, `metrics_proxy_discovery_staleness_seconds{namespace=""} 0`)
	eventually(t, func() error {
		if n := strings.Count(proxy.Log(), "watching pods again"); n != 1 {
			return fmt.Errorf("the recovery of the API server was logged %d times, want once:\n%s", n, proxy.Log())
		}
		return nil
	})
}

// wantUnreachable checks that a proxy stays ready, and reports why its list of targets may be
// out of date, for three attempts to reach an API server whose connections are closed
// immediately.
func wantUnreachable(t *testing.T, proxy *testbed.Proxy, address string) {
	t.Helper()
	attempts := func() float64 {
		own, err := proxy.OwnMetrics(t.Context())
		must(t, err)
		match := watchErrorsLine.FindSubmatch(own)
		if match == nil {
			t.Fatalf("the metrics have no count of failed watches:\n%s", own)
		}
		n, err := strconv.ParseFloat(string(match[1]), 64)
		must(t, err)
		return n
	}
	eventually(t, func() error {
		if n := attempts(); n < 3 {
			return fmt.Errorf("%g watches failed", n)
		}
		want := "pods of all namespaces may be out of date: cannot reach the API server at https://" + address
		if status, body := get(t, proxy.URL("/-/ready"), nil); status != http.StatusOK || !strings.Contains(body, want) {
			t.Fatalf("/-/ready returns %d %s", status, body)
		}
		return nil
	})
	// A closed connection can result in a few different errors, each of which is logged once.
	if n := strings.Count(proxy.Log(), "cannot list or watch pods"); n < 1 || n > 4 {
		t.Errorf("the unreachable API server was logged %d times, want 1 to 4:\n%s", n, proxy.Log())
	}
	if strings.Contains(proxy.Log(), "watching pods again") {
		t.Errorf("the recovery of the API server was logged while it was unreachable:\n%s", proxy.Log())
	}
}

var watchErrorsLine = regexp.MustCompile(`(?m)^metrics_proxy_discovery_requests_total\{outcome="error",verb="watch"\} (.+)$`)

// TestEtcdRestarts checks that the proxy scrapes the last known targets while etcd is down.
func TestEtcdRestarts(t *testing.T) {
	a, b := podWithSample(t, "etcd", 6110), podWithSample(t, "etcd", 6111)
	createPods(t, a)
	proxy := startProxy(t, "etcd", nil)
	wantSamples(t, proxy, a.Name)
	must(t, shared.cluster.StopEtcd())
	wantSamples(t, proxy, a.Name)
	must(t, shared.cluster.StartEtcd(t.Context()))
	eventually(t, func() error { // the API server needs time to reconnect
		err := shared.cluster.CreatePods(t.Context(), b)
		if apierrors.IsAlreadyExists(err) {
			return shared.cluster.SetPodStatus(t.Context(), b.Namespace, b.Name, "Running", b.IPs...)
		}
		return err
	})
	wantSamples(t, proxy, a.Name, b.Name)
	must(t, shared.cluster.DeletePod(t.Context(), a.Namespace, a.Name))
	wantSamples(t, proxy, b.Name)
}

// TestTokenRotates checks that the proxy uses a new token, which replaces an invalid one in the
// kubeconfig, or in a file that the kubeconfig refers to.
func TestTokenRotates(t *testing.T) {
	for _, where := range []string{"kubeconfig", "file"} {
		t.Run(where, func(t *testing.T) {
			ctx, cluster, name := t.Context(), shared.cluster, "rotates-"+where
			user, err := cluster.NewUser(ctx, name, testbed.Grant{Rules: testbed.PodRules("list", "watch")})
			must(t, err)
			link := newForwarder(t, strings.TrimPrefix(cluster.Server, "https://"))
			config, err := cluster.Kubeconfig(user, "https://"+link.address)
			must(t, err)
			replace := func(old, renewed testbed.User) {
				content, err := os.ReadFile(config)
				must(t, err)
				must(t, os.WriteFile(config, []byte(strings.ReplaceAll(string(content), old.Token, renewed.Token)), 0o600))
			}
			if where == "file" {
				path := filepath.Join(t.TempDir(), "token")
				must(t, os.WriteFile(path, []byte(user.Token), 0o600))
				content, err := os.ReadFile(config)
				must(t, err)
				must(t, os.WriteFile(config, []byte(strings.ReplaceAll(string(content), "token: "+user.Token, "tokenFile: "+path)), 0o600))
				replace = func(_, renewed testbed.User) { must(t, os.WriteFile(path, []byte(renewed.Token), 0o600)) }
			}
			a, b := podWithSample(t, name, 6120), podWithSample(t, name, 6121)
			createPods(t, a)
			proxy := startProxy(t, name, map[string]string{"KUBECONFIG": config})
			wantSamples(t, proxy, a.Name)

			renewed, err := cluster.RenewUser(ctx, name, user)
			must(t, err)
			link.off() // closes the watch, which was authenticated with the old token
			link.on()
			eventually(t, func() error {
				if !strings.Contains(proxy.Log(), "Unauthorized") {
					return fmt.Errorf("the old token is still valid")
				}
				return nil
			})
			createPods(t, b)
			wantSamples(t, proxy, a.Name)
			replace(user, renewed)
			wantSamples(t, proxy, a.Name, b.Name)
		})
	}
}

// TestCertificateRotates gives the API server a certificate of a new CA, and then updates the
// kubeconfig.
func TestCertificateRotates(t *testing.T) {
	ctx, cluster := t.Context(), shared.cluster
	a, b := podWithSample(t, "certificate", 6130), podWithSample(t, "certificate", 6131)
	createPods(t, a)
	config := kubeconfig(t)
	proxy := startProxy(t, "certificate", map[string]string{"KUBECONFIG": config})
	wantSamples(t, proxy, a.Name)
	must(t, cluster.RotateCertificate(ctx))
	createPods(t, b)
	eventually(t, func() error {
		if !strings.Contains(proxy.Log(), "certificate signed by unknown authority") {
			return fmt.Errorf("no error for the new certificate in the log yet")
		}
		return nil
	})
	wantSamples(t, proxy, a.Name)
	renewed, err := os.ReadFile(kubeconfig(t))
	must(t, err)
	must(t, os.WriteFile(config, renewed, 0o600))
	wantSamples(t, proxy, a.Name, b.Name)
}

// TestForbiddenNamespace checks that the proxy is not ready while pods of one of NAMESPACES
// cannot be listed, reports the missing rule, and scrapes the pods of the other namespaces.
// Once the permission is granted, it continues without a restart.
func TestForbiddenNamespace(t *testing.T) {
	ctx, cluster := t.Context(), shared.cluster
	a, b := podWithSample(t, "allowed", 6140), podWithSample(t, "allowed", 6141)
	b.Namespace = "forbidden"
	createPods(t, a, b)
	user, err := cluster.NewUser(ctx, "half", testbed.Grant{Namespace: "allowed", Rules: testbed.PodRules("list", "watch")})
	must(t, err)
	config, err := cluster.Kubeconfig(user, "")
	must(t, err)
	proxy := startProxyWith(t, testbed.ProxyOptions{NoWait: true, Env: map[string]string{"KUBECONFIG": config, "NAMESPACES": "allowed,forbidden"}}, "allowed")
	eventually(t, func() error { return listens(proxy.Address()) })
	eventually(t, func() error {
		status, body := get(t, proxy.URL("/-/ready"), nil)
		rule := `expected a Role in namespace forbidden with the rule apiGroups: [""], resources: ["pods"], verbs: ["list", "watch"]`
		if status != http.StatusServiceUnavailable || !strings.Contains(body, rule) || strings.Contains(body, "namespace allowed") {
			return fmt.Errorf("/-/ready returns %d %s", status, body)
		}
		return nil
	})
	wantSamples(t, proxy, a.Name)
	env := []string{"POD_LABEL_SELECTOR=test=allowed", "ALLOW_RESERVED_TARGETS=true", "KUBECONFIG=" + config, "NAMESPACES=allowed,forbidden"}
	if code, stdout, stderr := runProxy(t, env, "scrape"); code != 1 || !ups(stdout)[a.Name] || !strings.Contains(stderr, "metrics-proxy: pods of namespace forbidden are not known yet: ") {
		t.Errorf("scrape: exit code %d\n%s%s", code, stdout, stderr)
	}
	must(t, cluster.Allow(ctx, "half", testbed.Grant{Namespace: "forbidden", Rules: testbed.PodRules("list", "watch")}))
	wantSamples(t, proxy, a.Name, b.Name)
	if status, body := get(t, proxy.URL("/-/ready"), nil); status != http.StatusOK {
		t.Errorf("/-/ready returns %d %s", status, body)
	}
}

// resourceVersion returns the current resource version of the pods of a namespace.
func resourceVersion(t *testing.T, namespace string) string {
	t.Helper()
	list, err := shared.cluster.Client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	must(t, err)
	return list.ResourceVersion
}

// wantGone checks that the API server rejects a watch from a resource version.
func wantGone(t *testing.T, namespace, version string) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	w, err := shared.cluster.Client.CoreV1().Pods(namespace).Watch(ctx, metav1.ListOptions{ResourceVersion: version})
	if err == nil {
		defer w.Stop()
		event := <-w.ResultChan()
		if event.Type == watch.Error {
			err = apierrors.FromObject(event.Object)
		}
	}
	if !apierrors.IsGone(err) && !apierrors.IsResourceExpired(err) {
		t.Fatalf("watch from resource version %s: error %v, want 410 Gone", version, err)
	}
}

var stalenessLine = regexp.MustCompile(`(?m)^metrics_proxy_discovery_staleness_seconds\{namespace=""\} (.+)$`)

func staleness(t *testing.T, proxy *testbed.Proxy) float64 {
	t.Helper()
	own, err := proxy.OwnMetrics(t.Context())
	must(t, err)
	match := stalenessLine.FindSubmatch(own)
	if match == nil {
		t.Fatalf("the metrics have no staleness:\n%s", own)
	}
	seconds, err := strconv.ParseFloat(string(match[1]), 64)
	must(t, err)
	return seconds
}

// forwarder forwards TCP connections to an address, unless it is off.
type forwarder struct {
	address string

	mu    sync.Mutex
	isOff bool
	conns []net.Conn
}

func newForwarder(t *testing.T, to string) *forwarder {
	t.Helper()
	return newForwarderAt(t, "127.0.0.1", to)
}

func newForwarderAt(t *testing.T, host, to string) *forwarder {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	must(t, err)
	s := &forwarder{address: listener.Addr().String()}
	t.Cleanup(func() {
		_ = listener.Close()
		s.off()
	})
	go func() {
		for {
			in, err := listener.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("tcp", to)
			if err != nil || !s.add(in, out) {
				_ = in.Close()
				continue
			}
			go func() { _, _ = io.Copy(out, in); _ = out.Close() }()
			go func() { _, _ = io.Copy(in, out); _ = in.Close() }()
		}
	}()
	return s
}

// add registers connections. If the forwarder is off, it closes them and returns false.
func (s *forwarder) add(conns ...net.Conn) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.isOff {
		for _, c := range conns {
			_ = c.Close()
		}
		return false
	}
	s.conns = append(s.conns, conns...)
	return true
}

// off closes all connections. New ones are closed until on is called.
func (s *forwarder) off() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isOff = true
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func (s *forwarder) on() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isOff = false
}
