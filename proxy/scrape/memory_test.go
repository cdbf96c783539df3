package scrape

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// The last targets are shed and the others served, whoever answers first.
func TestMemoryLimit(t *testing.T) {
	pods := []string{"a", "b", "c", "d"}
	for _, slow := range append(pods, "none") {
		t.Run("slow "+slow, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := network{hosts: map[string]behaviour{}}
				var targets []*target.Target
				for _, pod := range pods {
					n.hosts[pod] = serves(func(w http.ResponseWriter, _ *http.Request) {
						if pod == slow {
							time.Sleep(time.Second)
						}
						w.Header().Set("Content-Type", "text/plain")
						_, _ = w.Write([]byte(unlike(pod)))
					})
					targets = append(targets, at(pod))
				}
				c := n.newClient(t, Options{MemoryLimit: 1 << 30})
				c.memory.inUse = func() int64 { return 0 }
				gather(c, 5*time.Second, targets...).Release() // each body takes the same from now on
				a := gather(c, 5*time.Second, targets...)
				wantReasons(t, a, target.OK, target.OK, target.OK, target.OK)
				all := c.memory.bodies
				a.Release()

				c.memory.limit, c.memory.least = 1, all*6/10
				a = gather(c, 5*time.Second, targets...)
				wantReasons(t, a, target.OK, target.OK, target.Memory, target.Memory)
				out := written(t, a)
				for pod, isServed := range map[string]bool{"a": true, "b": true, "c": false, "d": false} {
					if strings.Contains(out, `m_`+pod+`{pod="`+pod) != isServed {
						t.Errorf("samples of %s in the answer: want %v", pod, isServed)
					}
				}
				a.Release()
				if c.memory.bodies != 0 {
					t.Errorf("%d bytes are still reserved", c.memory.bodies)
				}
			})
		})
	}
}

// A target that takes much more than the others is shed instead of them, whoever answers
// first.
func TestHog(t *testing.T) {
	const pods = 12
	for _, slow := range []int{-1, 0, 3, pods} {
		t.Run(fmt.Sprint("slow ", slow), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := network{hosts: map[string]behaviour{}}
				var targets []*target.Target
				var want []target.Reason
				for i := range pods + 1 {
					pod, copies, reason := fmt.Sprintf("pod%02d", i), 1, target.OK
					if i == 3 {
						copies, reason = 20, target.Memory
					}
					n.hosts[pod] = serves(func(w http.ResponseWriter, _ *http.Request) {
						if i == slow {
							time.Sleep(time.Second)
						}
						w.Header().Set("Content-Type", "text/plain")
						for c := range copies {
							_, _ = w.Write([]byte(unlike(fmt.Sprint(pod, "_", c))))
						}
					})
					targets, want = append(targets, at(pod)), append(want, reason)
				}
				c := n.newClient(t, Options{MemoryLimit: 1 << 30})
				c.memory.inUse = func() int64 { return 0 }
				a := gather(c, 5*time.Second, targets...)
				all := c.memory.bodies
				a.Release()

				c.memory.limit, c.memory.least = 1, all/2
				for range 3 {
					a = gather(c, 5*time.Second, targets...)
					wantReasons(t, a, want...)
					a.Release()
				}
				if c.memory.bodies != 0 {
					t.Errorf("%d bytes are still reserved", c.memory.bodies)
				}
			})
		})
	}
}

// What the last collection found of a body that is gone leaves no less for others.
func TestMeasureOthers(t *testing.T) {
	inUse, collections := int64(20<<20), 0
	m := newMemory(200<<20, 8, exposition.NewReader(1<<20))
	m.inUse = func() int64 { return inUse }
	m.collect = func() { collections++ }
	for range 3 {
		if got := m.measureOthers(); got != 20<<20 {
			t.Errorf("%d bytes, want 20 MiB", got)
		}
	}
	if collections != 1 {
		t.Errorf("%d collections, want one for the rise", collections)
	}
	inUse = 120 << 20
	m.collect = func() { inUse = 21 << 20 }
	if got := m.measureOthers(); got != 21<<20 {
		t.Errorf("%d bytes, want what is left after a collection", got)
	}
}

// What targets answered last is dropped before any target is shed.
func TestLastBodiesMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{hosts: map[string]behaviour{}}
		var targets []*target.Target
		for _, pod := range []string{"a", "b", "c", "d"} {
			n.hosts[pod] = serves(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Type", "text/plain")
				_, _ = w.Write([]byte("# TYPE m gauge\n"))
				for i := range 2000 {
					_, _ = fmt.Fprintf(w, "m{i=\"%s%d\"} 1\n", pod, i)
				}
			})
			targets = append(targets, at(pod))
		}
		c := n.newClient(t, Options{MemoryLimit: 1 << 30})
		c.memory.inUse = func() int64 { return 0 }
		gather(c, 5*time.Second, targets...).Release()
		half := c.reader.LastBodies() / 2
		if half == 0 {
			t.Fatal("no body is kept")
		}
		c.memory.limit, c.memory.least = 1, half+half/2
		a := gather(c, 5*time.Second, targets[:2]...)
		wantReasons(t, a, target.OK, target.OK)
		if kept := c.reader.LastBodies() + c.memory.bodies; kept > c.memory.least {
			t.Errorf("%d bytes are kept, want at most %d", kept, c.memory.least)
		}
		a.Release()
	})
}

// unlike is a body of which no line is another pod's.
func unlike(pod string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# TYPE m_%s gauge\n", pod)
	for i := range 2000 {
		fmt.Fprintf(&b, "m_%s{i=\"%d\"} 1\n", pod, i)
	}
	return b.String()
}

func wantReasons(t *testing.T, a Answer, want ...target.Reason) {
	t.Helper()
	var got []target.Reason
	for _, r := range a.Results {
		got = append(got, r.Outcome.Reason)
		if (r.Outcome.Err == nil) != (r.Outcome.Reason == target.OK) {
			t.Errorf("the error of %s is %v", r.Target.Pod, r.Outcome.Err)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("outcomes %v, want %v", got, want)
	}
}
