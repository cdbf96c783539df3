package scrape

import (
	"fmt"
	"hash/maphash"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// TestMemoryLimit checks that the same targets are dropped and the others served, regardless
// of which one responds first, once their sizes are known.
func TestMemoryLimit(t *testing.T) {
	pods := []string{"a", "b", "c", "d"}
	seed := maphash.MakeSeed()
	served := ""
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
				c.memory.inUse, c.memory.seed = func() int64 { return 0 }, seed
				gather(c, 5*time.Second, targets...).Release() // each body takes the same memory from now on
				a := gather(c, 5*time.Second, targets...)
				wantReasons(t, a, target.OK, target.OK, target.OK, target.OK)
				all := c.memory.bodies
				a.Release()

				c.memory.limit, c.memory.floor = 1, all*6/10
				for range 3 {
					a = gather(c, 5*time.Second, targets...)
					ok := okPods(a)
					out := written(t, a)
					for _, pod := range pods {
						if strings.Contains(out, `m_`+pod+`{pod="`+pod) != strings.Contains(ok, pod) {
							t.Errorf("samples of %s in the exposition, although %q are up", pod, ok)
						}
					}
					a.Release()
					if served == "" {
						served = ok
					}
					if ok != served || len(ok) != 2 {
						t.Errorf("%q are up, want two, the same as before: %q", ok, served)
					}
				}
				if c.memory.bodies != 0 {
					t.Errorf("%d bytes are still reserved", c.memory.bodies)
				}
			})
		})
	}
}

// TestFirstScrape checks that as many targets as fit are served when no size is known yet, and
// all bodies grow at the same time.
func TestFirstScrape(t *testing.T) {
	m := newMemory(1, 8, exposition.NewReader(1<<20))
	m.floor = 100
	targets := []*target.Target{at("a"), at("b"), at("c"), at("d")}
	l := m.open(targets)
	for _, bytes := range []int64{15, 15, 10} {
		for i := range targets {
			_ = l.reserve(i, bytes)
		}
	}
	if l.sum != 80 {
		t.Errorf("%d bytes are reserved, want those of two targets", l.sum)
	}
}

// okPods returns the names of the pods that are up.
func okPods(a Answer) string {
	names := ""
	for _, r := range a.Results {
		if r.Outcome.Reason == target.OK {
			names += r.Target.Pod
		}
	}
	return names
}

// TestFairness checks that small targets are served beside many hogs, whatever their names, and
// that a namespace with many targets does not crowd out one with few.
func TestFairness(t *testing.T) {
	for _, test := range []struct {
		name         string
		first, last  int // targets in the namespaces aaa and zzz
		hogs         int // size of those in aaa, as a multiple of those in zzz
		share        int64
		atLeastFirst int
	}{
		{"hogs", 20, 20, 10, 2, 5},
		{"a large namespace", 30, 10, 1, 2, 9},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := network{hosts: map[string]behaviour{}}
				var targets []*target.Target
				add := func(namespace string, i, size int) {
					pod := fmt.Sprint(namespace, i)
					n.hosts[pod] = serves(func(w http.ResponseWriter, _ *http.Request) {
						w.Header().Set("Content-Type", "text/plain")
						for c := range size {
							_, _ = w.Write([]byte(unlike(fmt.Sprint(pod, "_", c))))
						}
					})
					to := *at(pod)
					to.Namespace = namespace
					targets = append(targets, &to)
				}
				for i := range test.first {
					add("aaa", i, test.hogs)
				}
				for i := range test.last {
					add("zzz", i, 1)
				}
				c := n.newClient(t, Options{MemoryLimit: 1 << 30})
				c.memory.inUse = func() int64 { return 0 }
				a := gather(c, 5*time.Second, targets...)
				all := c.memory.bodies
				a.Release()
				clear(c.memory.sizes)

				c.memory.limit, c.memory.floor = 1, all/test.share
				for scrape := range 3 {
					a = gather(c, 5*time.Second, targets...)
					up := map[string]int{}
					for _, r := range a.Results {
						if r.Outcome.Reason == target.OK {
							up[r.Target.Namespace]++
						}
					}
					a.Release()
					if up["zzz"] != test.last || up["aaa"] < test.atLeastFirst {
						t.Errorf("scrape %d: up are %v", scrape, up)
					}
				}
			})
		})
	}
}

// TestOversizedTarget checks that a target that takes much more memory than the others is
// dropped instead of them, regardless of which one responds first.
func TestOversizedTarget(t *testing.T) {
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

				c.memory.limit, c.memory.floor = 1, all/2
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

// TestMeasureOthers checks that a body which was in memory at the last garbage collection, and
// is not in use any more, does not reduce the memory for others.
func TestMeasureOthers(t *testing.T) {
	inUse, collections := int64(20<<20), 0
	m := newMemory(200<<20, 8, exposition.NewReader(1<<20))
	m.inUse = func() int64 { return inUse }
	m.collect = func() { collections++ }
	for range 3 {
		if got := m.measureOthers(); got != 20<<20 {
			t.Errorf("got %d bytes, want 20 MiB", got)
		}
	}
	if collections != 1 {
		t.Errorf("got %d collections, want one for the increase", collections)
	}
	inUse = 120 << 20
	m.collect = func() { inUse = 21 << 20 }
	if got := m.measureOthers(); got != 21<<20 {
		t.Errorf("got %d bytes, want those after a collection", got)
	}
}

// TestLastBodiesMakeRoom checks that the kept bodies of the previous scrape are dropped before
// any target is.
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
		c.memory.limit, c.memory.floor = 1, half+half/2
		a := gather(c, 5*time.Second, targets[:2]...)
		wantReasons(t, a, target.OK, target.OK)
		if kept := c.reader.LastBodies() + c.memory.bodies; kept > c.memory.floor {
			t.Errorf("%d bytes are kept, want at most %d", kept, c.memory.floor)
		}
		a.Release()
	})
}

// unlike returns a body that has no line in common with that of another pod.
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
			t.Errorf("%s: got error %v", r.Target.Pod, r.Outcome.Err)
		}
	}
	if fmt.Sprint(got) != fmt.Sprint(want) {
		t.Errorf("got outcomes %v, want %v", got, want)
	}
}
