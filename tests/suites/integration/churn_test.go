package integration

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"regexp"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// Pods come and go, and each address goes on to another pod at once. No sample stands
// under another pod's name, no pod is missing that has been there for two seconds, and none
// is told that the API server did not know during the scrape. What the API server has not
// told by the end of a scrape nobody can know: so a sample may be of a pod that has got its
// address within the last second, of one pod in a hundred.
func TestChurn(t *testing.T) {
	const pods, perSecond, lasts = 1000, 30, 2 * time.Minute
	c := newChurn(t)
	c.start(t, pods)
	proxy := startProxy(t, "churn", nil)
	done := make(chan struct{})
	var changing sync.WaitGroup
	changing.Go(func() {
		tick := time.NewTicker(time.Second / perSecond)
		defer tick.Stop()
		for {
			select {
			case <-done:
				return
			case <-tick.C:
				changing.Go(func() { c.replace(t) })
			}
		}
	})
	answers, samples := 0, 0
	for start := time.Now(); time.Since(start) < lasts && !t.Failed(); answers++ {
		before := c.listed(t)
		settled := c.since(2 * time.Second)
		status, answer := get(t, proxy.URL("/metrics"), nil)
		if status != http.StatusOK {
			t.Fatalf("status %d: %.200s", status, answer)
		}
		samples += c.check(t, answer, before, c.listed(t), settled)
	}
	close(done)
	changing.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	t.Logf("%d answers with %d samples, %d pods were replaced, %d samples too new to be known", answers, samples, c.count-pods, c.tooNew)
	if c.tooNew*100 > c.count-pods {
		t.Errorf("%d samples of %d new pods stand under the name of the one before", c.tooNew, c.count-pods)
	}
	if !t.Failed() && (answers < 20 || c.count < pods+int(lasts.Seconds())*perSecond/3) {
		t.Errorf("%d answers, %d pods replaced: that is no test", answers, c.count-pods)
	}
}

// churn replaces pods. All addresses answer with the name of the pod that has them.
type churn struct {
	port int

	mu     sync.Mutex // for what follows
	owners map[string]string
	live   []testbed.Pod
	got    map[string]time.Time // by name: when it got its address
	ready  map[string]time.Time // by name: when the API server knew its address
	count  int                  // pods so far
	tooNew int                  // samples of pods that have just got an address
}

func newChurn(t *testing.T) *churn {
	c := &churn{owners: map[string]string{}, got: map[string]time.Time{}, ready: map[string]time.Time{}}
	server, err := exporter.Start("0.0.0.0:0", http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		host, _, _ := net.SplitHostPort(r.Context().Value(http.LocalAddrContextKey).(net.Addr).String())
		c.mu.Lock()
		owner := c.owners[host]
		c.mu.Unlock()
		if owner == "" {
			http.Error(w, "nobody", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "text/plain")
		_, _ = fmt.Fprint(w, says(owner))
	}))
	must(t, err)
	t.Cleanup(server.Close)
	c.port = server.Port()
	t.Cleanup(func() {
		_ = shared.cluster.Client.CoreV1().Pods("churn").DeleteCollection(context.Background(), metav1.DeleteOptions{GracePeriodSeconds: new(int64)}, metav1.ListOptions{})
	})
	return c
}

// next is a pod that is not there yet.
func (c *churn) next() testbed.Pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	return testbed.Pod{
		Namespace: "churn", Name: fmt.Sprintf("pod-%d", c.count-1), NodeName: "node-1",
		Labels: map[string]string{"test": "churn"}, Annotations: testbed.ScrapeAnnotations(c.port, ""),
	}
}

// own makes an address that of a pod, or of none.
func (c *churn) own(address, name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.owners[address], c.got[name] = name, time.Now()
}

func (c *churn) start(t *testing.T, pods int) {
	var all []testbed.Pod
	for i := range pods {
		p := c.next()
		p.IPs = []string{testbed.Address(7000 + i)}
		c.own(p.IPs[0], p.Name)
		all = append(all, p)
	}
	must(t, shared.cluster.CreatePods(t.Context(), all...))
	for _, p := range all {
		c.isThere(p)
	}
}

func (c *churn) isThere(p testbed.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live = append(c.live, p)
	c.ready[p.Name] = time.Now()
}

// replace deletes the oldest pod and gives its address to a new one, every second time
// as a kubelet does it: the old pod is terminating by then, and gone later.
func (c *churn) replace(t *testing.T) {
	c.mu.Lock()
	old := c.live[0]
	c.live = c.live[1:]
	delete(c.ready, old.Name)
	isSlow := c.count%2 == 0
	c.mu.Unlock()
	ctx, cluster := context.Background(), shared.cluster
	end := cluster.DeletePod
	if isSlow {
		end = cluster.TerminatePod
	}
	err := end(ctx, old.Namespace, old.Name)
	c.own(old.IPs[0], "")
	young := c.next()
	if err == nil {
		err = cluster.CreatePods(ctx, young)
	}
	young.IPs = old.IPs
	c.own(young.IPs[0], young.Name)
	if err == nil {
		err = cluster.SetPodStatus(ctx, young.Namespace, young.Name, corev1.PodRunning, young.IPs...)
	}
	if err == nil && isSlow {
		err = cluster.DeletePod(ctx, old.Namespace, old.Name)
	}
	if err != nil {
		t.Error(err)
		return
	}
	c.isThere(young)
}

// since are the pods that have been there for so long.
func (c *churn) since(d time.Duration) map[string]bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	settled := map[string]bool{}
	for name, ready := range c.ready {
		if time.Since(ready) > d {
			settled[name] = true
		}
	}
	return settled
}

// listed are the pods with an address that the API server lists, false for those that are
// terminating.
func (c *churn) listed(t *testing.T) map[string]bool {
	t.Helper()
	list, err := shared.cluster.Client.CoreV1().Pods("churn").List(t.Context(), metav1.ListOptions{})
	must(t, err)
	names := map[string]bool{}
	for _, p := range list.Items {
		if p.Status.PodIP != "" && p.Status.Phase == corev1.PodRunning {
			names[p.Name] = p.DeletionTimestamp == nil
		}
	}
	return names
}

var saidLine = regexp.MustCompile(`(?m)^said\{k8s_pod_name="([^"]+)",k8s_namespace="churn",by="([^"]+)"\} 1$`)

// check compares an answer with what the API server listed before and after it, and with
// the pods that were settled before. It returns the number of samples.
func (c *churn) check(t *testing.T, answer string, before, after, settled map[string]bool) int {
	t.Helper()
	said := saidLine.FindAllStringSubmatch(answer, -1)
	for _, m := range said {
		if m[1] == m[2] {
			continue
		}
		c.mu.Lock()
		age := time.Since(c.got[m[2]])
		c.tooNew++
		c.mu.Unlock()
		if age > time.Second {
			t.Errorf("under the name of %s stands a sample of %s, which got its address %s ago", m[1], m[2], age)
		}
	}
	up := ups(answer)
	for name := range up {
		_, wasListed := before[name]
		if _, isListed := after[name]; !wasListed && !isListed {
			t.Errorf("%s is told, which the API server did not list before nor after", name)
		}
	}
	for name := range settled {
		if isUp, isTold := up[name]; after[name] && !isUp {
			t.Errorf("%s has been there for two seconds; told: %t, up: %t", name, isTold, isUp)
		}
	}
	return len(said)
}
