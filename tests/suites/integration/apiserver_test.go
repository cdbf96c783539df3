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

// While the API server is away the last known targets are asked, and how old they are is
// told. When it is back all is known that happened meanwhile.
func TestAPIServerRestarts(t *testing.T) {
	ctx, cluster := t.Context(), shared.cluster
	a, b, c := podThatSays(t, "restart", 6100), podThatSays(t, "restart", 6101), podThatSays(t, "restart", 6102)
	createPods(t, a, b)
	line := newSwitch(t, strings.TrimPrefix(cluster.Server, "https://"))
	config, err := cluster.Kubeconfig(cluster.Proxy, "https://"+line.address)
	must(t, err)
	proxy := startProxy(t, "restart", map[string]string{"KUBECONFIG": config})
	wantSaid(t, proxy, a.Name, b.Name)
	wantOwnMetric(t, proxy, `metrics_proxy_discovery_staleness_seconds{namespace=""} 0`)
	before := resourceVersion(t, "restart")

	line.off()
	must(t, cluster.DeletePod(ctx, a.Namespace, a.Name))
	createPods(t, c)
	eventually(t, func() error {
		if s := staleness(t, proxy); s < 1 {
			return fmt.Errorf("staleness is %g s", s)
		}
		return nil
	})
	wantSaid(t, proxy, a.Name, b.Name)
	wantAway(t, proxy, line.address)

	// An API server that was started anew does not know what was before: 410 Gone.
	must(t, cluster.StopServer())
	must(t, cluster.StartServer(ctx))
	wantGone(t, "restart", before)
	line.on()
	wantSaid(t, proxy, b.Name, c.Name)
	wantOwnMetric(t, proxy, `metrics_proxy_discovery_staleness_seconds{namespace=""} 0`)
	eventually(t, func() error {
		if n := strings.Count(proxy.Log(), "watching pods again"); n != 1 {
			return fmt.Errorf("that the API server is back was logged %d times, want once:\n%s", n, proxy.Log())
		}
		return nil
	})
}

// wantAway wants a proxy to go on, and to say why what it knows may be out of date, for
// three attempts to reach an API server that takes connections and closes them.
func wantAway(t *testing.T, proxy *testbed.Proxy, address string) {
	t.Helper()
	attempts := func() float64 {
		own, err := proxy.OwnMetrics(t.Context())
		must(t, err)
		match := watchErrorsLine.FindSubmatch(own)
		if match == nil {
			t.Fatalf("failed watches are not counted in\n%s", own)
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
			t.Fatalf("/-/ready answers %d %s", status, body)
		}
		return nil
	})
	// A connection that is closed ends in few ways, with other ports each time.
	if n := strings.Count(proxy.Log(), "cannot list or watch pods"); n < 1 || n > 4 {
		t.Errorf("that the API server is away was logged %d times:\n%s", n, proxy.Log())
	}
	if strings.Contains(proxy.Log(), "watching pods again") {
		t.Errorf("that the API server is back was logged while it was away:\n%s", proxy.Log())
	}
}

var watchErrorsLine = regexp.MustCompile(`(?m)^metrics_proxy_discovery_requests_total\{outcome="error",verb="watch"\} (.+)$`)

// Where the API server has lost its etcd the last known targets are asked.
func TestEtcdRestarts(t *testing.T) {
	a, b := podThatSays(t, "etcd", 6110), podThatSays(t, "etcd", 6111)
	createPods(t, a)
	proxy := startProxy(t, "etcd", nil)
	wantSaid(t, proxy, a.Name)
	must(t, shared.cluster.StopEtcd())
	wantSaid(t, proxy, a.Name)
	must(t, shared.cluster.StartEtcd(t.Context()))
	eventually(t, func() error { // the API server needs a moment
		err := shared.cluster.CreatePods(t.Context(), b)
		if apierrors.IsAlreadyExists(err) {
			return shared.cluster.SetPodStatus(t.Context(), b.Namespace, b.Name, "Running", b.IPs...)
		}
		return err
	})
	wantSaid(t, proxy, a.Name, b.Name)
	must(t, shared.cluster.DeletePod(t.Context(), a.Namespace, a.Name))
	wantSaid(t, proxy, b.Name)
}

// A token that serves no more is replaced where the proxy reads it: in the kubeconfig, or
// in a file that this names.
func TestTokenRotates(t *testing.T) {
	for _, where := range []string{"kubeconfig", "file"} {
		t.Run(where, func(t *testing.T) {
			ctx, cluster, name := t.Context(), shared.cluster, "rotates-"+where
			user, err := cluster.NewUser(ctx, name, testbed.Grant{Rules: testbed.PodRules("list", "watch")})
			must(t, err)
			line := newSwitch(t, strings.TrimPrefix(cluster.Server, "https://"))
			config, err := cluster.Kubeconfig(user, "https://"+line.address)
			must(t, err)
			replace := func(old, young testbed.User) {
				content, err := os.ReadFile(config)
				must(t, err)
				must(t, os.WriteFile(config, []byte(strings.ReplaceAll(string(content), old.Token, young.Token)), 0o600))
			}
			if where == "file" {
				path := filepath.Join(t.TempDir(), "token")
				must(t, os.WriteFile(path, []byte(user.Token), 0o600))
				content, err := os.ReadFile(config)
				must(t, err)
				must(t, os.WriteFile(config, []byte(strings.ReplaceAll(string(content), "token: "+user.Token, "tokenFile: "+path)), 0o600))
				replace = func(_, young testbed.User) { must(t, os.WriteFile(path, []byte(young.Token), 0o600)) }
			}
			a, b := podThatSays(t, name, 6120), podThatSays(t, name, 6121)
			createPods(t, a)
			proxy := startProxy(t, name, map[string]string{"KUBECONFIG": config})
			wantSaid(t, proxy, a.Name)

			young, err := cluster.RenewUser(ctx, name, user)
			must(t, err)
			line.off() // ends the watch, which the old token began
			line.on()
			eventually(t, func() error {
				if !strings.Contains(proxy.Log(), "Unauthorized") {
					return fmt.Errorf("the old token still serves")
				}
				return nil
			})
			createPods(t, b)
			wantSaid(t, proxy, a.Name)
			replace(user, young)
			wantSaid(t, proxy, a.Name, b.Name)
		})
	}
}

// The API server gets a certificate of another authority, and the kubeconfig says so.
func TestCertificateRotates(t *testing.T) {
	ctx, cluster := t.Context(), shared.cluster
	a, b := podThatSays(t, "certificate", 6130), podThatSays(t, "certificate", 6131)
	createPods(t, a)
	config := kubeconfig(t)
	proxy := startProxy(t, "certificate", map[string]string{"KUBECONFIG": config})
	wantSaid(t, proxy, a.Name)
	must(t, cluster.RotateCertificate(ctx))
	createPods(t, b)
	eventually(t, func() error {
		if !strings.Contains(proxy.Log(), "certificate signed by unknown authority") {
			return fmt.Errorf("the new certificate is trusted, or not seen yet")
		}
		return nil
	})
	wantSaid(t, proxy, a.Name)
	young, err := os.ReadFile(kubeconfig(t))
	must(t, err)
	must(t, os.WriteFile(config, young, 0o600))
	wantSaid(t, proxy, a.Name, b.Name)
}

// One of NAMESPACES that may not be listed keeps the proxy not ready, says which rule is
// missing, and costs the others nothing. Once it is allowed nothing has to be restarted.
func TestForbiddenNamespace(t *testing.T) {
	ctx, cluster := t.Context(), shared.cluster
	a, b := podThatSays(t, "allowed", 6140), podThatSays(t, "allowed", 6141)
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
			return fmt.Errorf("/-/ready answers %d %s", status, body)
		}
		return nil
	})
	wantSaid(t, proxy, a.Name)
	env := []string{"POD_LABEL_SELECTOR=test=allowed", "ALLOW_RESERVED_TARGETS=true", "KUBECONFIG=" + config, "NAMESPACES=allowed,forbidden"}
	if code, stdout, stderr := runProxy(t, env, "scrape"); code != 1 || !ups(stdout)[a.Name] || !strings.Contains(stderr, "metrics-proxy: pods of namespace forbidden are not known yet: ") {
		t.Errorf("scrape: exit code %d\n%s%s", code, stdout, stderr)
	}
	must(t, cluster.Allow(ctx, "half", testbed.Grant{Namespace: "forbidden", Rules: testbed.PodRules("list", "watch")}))
	wantSaid(t, proxy, a.Name, b.Name)
	if status, body := get(t, proxy.URL("/-/ready"), nil); status != http.StatusOK {
		t.Errorf("/-/ready answers %d %s", status, body)
	}
}

// resourceVersion is that of a namespace's pods now.
func resourceVersion(t *testing.T, namespace string) string {
	t.Helper()
	list, err := shared.cluster.Client.CoreV1().Pods(namespace).List(t.Context(), metav1.ListOptions{})
	must(t, err)
	return list.ResourceVersion
}

// wantGone wants the API server to refuse a watch from a version on.
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
		t.Fatalf("a watch from version %s on: %v, want 410 Gone", version, err)
	}
}

var stalenessLine = regexp.MustCompile(`(?m)^metrics_proxy_discovery_staleness_seconds\{namespace=""\} (.+)$`)

func staleness(t *testing.T, proxy *testbed.Proxy) float64 {
	t.Helper()
	own, err := proxy.OwnMetrics(t.Context())
	must(t, err)
	match := stalenessLine.FindSubmatch(own)
	if match == nil {
		t.Fatalf("there is no staleness in\n%s", own)
	}
	seconds, err := strconv.ParseFloat(string(match[1]), 64)
	must(t, err)
	return seconds
}

// lineSwitch passes connections on, unless it is off.
type lineSwitch struct {
	address string

	mu    sync.Mutex
	isOff bool
	conns []net.Conn
}

func newSwitch(t *testing.T, to string) *lineSwitch {
	t.Helper()
	return newSwitchAt(t, "127.0.0.1", to)
}

func newSwitchAt(t *testing.T, host, to string) *lineSwitch {
	t.Helper()
	listener, err := net.Listen("tcp", net.JoinHostPort(host, "0"))
	must(t, err)
	s := &lineSwitch{address: listener.Addr().String()}
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

// add takes note of connections, unless the switch is off.
func (s *lineSwitch) add(conns ...net.Conn) bool {
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

// off ends all connections and takes no more.
func (s *lineSwitch) off() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isOff = true
	for _, c := range s.conns {
		_ = c.Close()
	}
	s.conns = nil
}

func (s *lineSwitch) on() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.isOff = false
}
