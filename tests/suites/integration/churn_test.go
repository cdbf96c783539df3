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

// TestChurn replaces pods continuously, and assigns each address to another pod immediately. No
// sample may have the labels of another pod, no pod that has existed for two seconds may be
// missing, and no pod may be reported that the API server did not list during the scrape.
// The proxy cannot know changes that the API server has not sent by the end of a scrape. So
// up to one pod in a hundred may have a mislabelled sample, if it got its address within the
// last second.
func TestChurn(t *testing.T) {
	const pods, perSecond, duration = 1000, 30, 2 * time.Minute
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
	scrapes, samples := 0, 0
	for start := time.Now(); time.Since(start) < duration && !t.Failed(); scrapes++ {
		before := c.listed(t)
		settled := c.since(2 * time.Second)
		status, response := get(t, proxy.URL("/metrics"), nil)
		if status != http.StatusOK {
			t.Fatalf("status %d: %.200s", status, response)
		}
		samples += c.check(t, response, before, c.listed(t), settled)
	}
	close(done)
	changing.Wait()
	c.mu.Lock()
	defer c.mu.Unlock()
	t.Logf("%d scrapes with %d samples, %d pods replaced, %d samples mislabelled because the pod was too new", scrapes, samples, c.count-pods, c.tooNew)
	if c.tooNew*100 > c.count-pods {
		t.Errorf("%d samples of %d new pods have the labels of the previous pod", c.tooNew, c.count-pods)
	}
	if !t.Failed() && (scrapes < 20 || c.count < pods+int(duration.Seconds())*perSecond/3) {
		t.Errorf("%d scrapes, %d pods replaced: too few for a meaningful test", scrapes, c.count-pods)
	}
}

// churn replaces pods. An exporter serves all addresses, and responds with the name of the pod
// that has the address.
type churn struct {
	port int

	mu     sync.Mutex           // guards the fields below
	owners map[string]string    // pod names by address
	live   []testbed.Pod        // the oldest first
	got    map[string]time.Time // by name: when the pod got its address
	ready  map[string]time.Time // by name: when the API server had stored the address
	count  int                  // number of pods created so far
	tooNew int                  // number of mislabelled samples of pods that just got their address
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
		_, _ = fmt.Fprint(w, sampleBy(owner))
	}))
	must(t, err)
	t.Cleanup(server.Close)
	c.port = server.Port()
	t.Cleanup(func() {
		_ = shared.cluster.Client.CoreV1().Pods("churn").DeleteCollection(context.Background(), metav1.DeleteOptions{GracePeriodSeconds: new(int64)}, metav1.ListOptions{})
	})
	return c
}

// next returns the next pod to create.
func (c *churn) next() testbed.Pod {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.count++
	return testbed.Pod{
		Namespace: "churn", Name: fmt.Sprintf("pod-%d", c.count-1), NodeName: "node-1",
		Labels: map[string]string{"test": "churn"}, Annotations: testbed.ScrapeAnnotations(c.port, ""),
	}
}

// own assigns an address to a pod. An empty name means none.
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
		c.add(p)
	}
}

func (c *churn) add(p testbed.Pod) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.live = append(c.live, p)
	c.ready[p.Name] = time.Now()
}

// replace deletes the oldest pod and assigns its address to a new one. Every second time it
// deletes the pod as a kubelet does: the old pod is still terminating when the new pod gets
// the address.
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
	created := c.next()
	if err == nil {
		err = cluster.CreatePods(ctx, created)
	}
	created.IPs = old.IPs
	c.own(created.IPs[0], created.Name)
	if err == nil {
		err = cluster.SetPodStatus(ctx, created.Namespace, created.Name, corev1.PodRunning, created.IPs...)
	}
	if err == nil && isSlow {
		err = cluster.DeletePod(ctx, old.Namespace, old.Name)
	}
	if err != nil {
		t.Error(err)
		return
	}
	c.add(created)
}

// since returns the pods that have existed for longer than d.
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

// listed returns the running pods with an address that the API server lists. The value is
// false for a terminating pod.
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

// check compares a response with the pods that the API server listed before and after the
// scrape, and with the pods that were settled before. It returns the number of samples.
func (c *churn) check(t *testing.T, response string, before, after, settled map[string]bool) int {
	t.Helper()
	matches := saidLine.FindAllStringSubmatch(response, -1)
	for _, m := range matches {
		if m[1] == m[2] {
			continue
		}
		c.mu.Lock()
		age := time.Since(c.got[m[2]])
		c.tooNew++
		c.mu.Unlock()
		if age > time.Second {
			t.Errorf("the labels of %s are on a sample of %s, which got its address %s ago", m[1], m[2], age)
		}
	}
	up := ups(response)
	for name := range up {
		_, wasListed := before[name]
		if _, isListed := after[name]; !wasListed && !isListed {
			t.Errorf("%s is in the response, but the API server listed it neither before nor after the scrape", name)
		}
	}
	for name := range settled {
		if isUp, isReported := up[name]; after[name] && !isUp {
			t.Errorf("%s has existed for two seconds; in the response: %t, up: %t", name, isReported, isUp)
		}
	}
	return len(matches)
}
