package server

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// newPod starts a target at an address in 127.0.0.0/8.
func newPod(t *testing.T, address string, h http.HandlerFunc) *target.Target {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address+":0")
	if err != nil {
		t.Skipf("cannot listen at %s: %v", address, err)
	}
	srv := httptest.NewUnstartedServer(h)
	_ = srv.Listener.Close()
	srv.Listener = l
	srv.Start()
	t.Cleanup(srv.Close)
	return &target.Target{ID: address, Namespace: "ns", Pod: address, Address: address, URL: srv.URL, Labels: []target.Label{{Name: "pod", Value: address}}}
}

// scrapeFrom sends a scrape from an address, with a timeout if it is not empty.
func scrapeFrom(ctx context.Context, address, url, timeout string) (int, string, error) {
	dialer := &net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(address)}}
	transport := &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/metrics", nil)
	if err != nil {
		return 0, "", err
	}
	if timeout != "" {
		req.Header.Set(timeoutHeader, timeout)
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = resp.Body.Close() }()
	body, err := io.ReadAll(resp.Body)
	return resp.StatusCode, string(body), err
}

// TestForwardingTargets checks that targets that forward their requests to the proxy, without
// the Via header, cause a few nested scrapes at most, and that a nested scrape causes none.
func TestForwardingTargets(t *testing.T) {
	for n, most := range map[int]int32{1: 2, 20: maxNested + 2} {
		t.Run(fmt.Sprint(n, " pods"), func(t *testing.T) {
			var requests atomic.Int32
			good := newPod(t, "127.0.9.1", func(w http.ResponseWriter, _ *http.Request) {
				requests.Add(1)
				w.Header().Set("Content-Type", "text/plain")
				_, _ = io.WriteString(w, "m 1\n")
			})
			s, d, _ := newServer(t)
			s.opts.ScrapeTimeout = 2 * time.Second
			srv := httptest.NewServer(s.Handler())
			t.Cleanup(srv.Close)
			targets := []*target.Target{good}
			for i := range n {
				address := fmt.Sprint("127.0.10.", i+1)
				targets = append(targets, newPod(t, address, func(w http.ResponseWriter, r *http.Request) {
					code, body, err := scrapeFrom(r.Context(), address, srv.URL, "")
					if err != nil {
						code = http.StatusBadGateway
					}
					w.Header().Set("Content-Type", "text/plain")
					w.WriteHeader(code)
					_, _ = io.WriteString(w, body)
				}))
			}
			d.setTargets(targets...)
			code, body, err := scrapeFrom(t.Context(), "127.0.0.1", srv.URL, "10")
			if err != nil || code != http.StatusOK || !strings.Contains(body, `m{pod="127.0.9.1"} 1`) {
				t.Errorf("got %d, %v, %.300q", code, err, body)
			}
			if got := requests.Load(); got > most {
				t.Errorf("the good pod was scraped %d times, want at most %d", got, most)
			}
			if got := strings.Count(body, "\nm{"); got > int(most) {
				t.Errorf("the response has %d copies of a good sample:\n%.3000s", got, body)
			}
		})
	}
}

// TestClientsThatAreTargets checks that two Prometheus servers that are targets themselves get
// complete responses in time, although their scrapes overlap and another target hangs.
func TestClientsThatAreTargets(t *testing.T) {
	s, d, _ := newServer(t)
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	serve := func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(50 * time.Millisecond)
		w.Header().Set("Content-Type", "text/plain")
		_, _ = io.WriteString(w, "m 1\n")
	}
	servers := []string{"127.0.11.1", "127.0.11.2"}
	d.setTargets(newPod(t, servers[0], serve), newPod(t, servers[1], serve), newPod(t, "127.0.11.3", serve),
		newPod(t, "127.0.11.4", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	var wg sync.WaitGroup
	for i, address := range servers {
		wg.Go(func() {
			time.Sleep(time.Duration(i) * 300 * time.Millisecond)
			for range 2 {
				start := time.Now()
				code, body, err := scrapeFrom(t.Context(), address, srv.URL, "3")
				if err != nil || code != http.StatusOK || strings.Count(body, "\nm{") != 3 {
					t.Errorf("%s: got %d, %v after %s: %.300q", address, code, err, time.Since(start), body)
				}
			}
		})
	}
	wg.Wait()
	wantScrapes(t, s, map[string]float64{"whole": 4})
}

// TestNesting checks which scrapes may start while others are in progress.
func TestNesting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := newNesting()
		addr := func(i int) netip.Addr { return netip.AddrFrom4([4]byte{10, 0, 0, byte(i)}) }
		pod := func(i int) *target.Target { return &target.Target{Address: addr(i).String()} }
		enter := func(from netip.Addr, want bool) func() {
			t.Helper()
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			leave, ok := n.enter(ctx, from)
			if ok != want {
				t.Fatalf("%s may enter: %t, want %t", from, ok, want)
			}
			return leave
		}
		prometheus := netip.MustParseAddr("10.1.0.1")
		enter(prometheus, true)
		enter(addr(1), true) // it is not being scraped
		var done []func()
		for i := range 6 {
			done = append(done, n.visit(t.Context(), prometheus, pod(i)))
		}
		enter(prometheus, true)
		nested := enter(addr(1), true)
		enter(addr(1), false) // one per address
		inner := n.visit(t.Context(), addr(1), pod(2))
		enter(addr(2), false) // not within a nested scrape
		inner()
		second := enter(addr(2), true)
		enter(addr(3), false) // maxNested
		time.AfterFunc(500*time.Millisecond, nested)
		third := enter(addr(3), true)
		time.AfterFunc(500*time.Millisecond, done[4])
		enter(addr(4), true) // its target has responded
		for _, end := range append(done[:4], done[5], second, third) {
			end()
		}
		n.visit(t.Context(), prometheus, &target.Target{})() // without an address
		if len(n.visits) > 0 || len(n.sources) > 0 {
			t.Errorf("%v and %v are left", n.visits, n.sources)
		}
	})
}

// TestNestingAfterDeadline checks that no scrape starts from a target that has not responded
// in time, until the requests that it made meanwhile have ended.
func TestNestingAfterDeadline(t *testing.T) {
	for _, nested := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			n := newNesting()
			pod := &target.Target{Address: "10.0.0.1"}
			from, client := addrOf(pod.Address), netip.MustParseAddr("10.1.0.1")
			if nested {
				n.sources[client] = true
			}
			visiting, cancel := context.WithCancel(t.Context())
			leave := n.visit(visiting, client, pod)
			n.visit(t.Context(), client, pod)() // a response meanwhile
			cancel()
			leave()
			forwarded, cancel := context.WithTimeout(t.Context(), parting-1)
			defer cancel()
			if _, ok := n.enter(forwarded, from); ok {
				t.Errorf("a scrape starts before the target noticed the end of its request (nested: %t)", nested)
			}
			if _, ok := n.enter(t.Context(), from); !ok || len(n.visits) > 0 || n.sources[from] {
				t.Errorf("a later scrape starts: %t, with %v and %v left (nested: %t)", ok, n.visits, n.sources, nested)
			}
		})
	}
}

// TestPlacesOfTargets checks that clients that are targets leave half of the places to others.
func TestPlacesOfTargets(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := newServer(t)
		targets := []*target.Target{{Address: "::ffff:10.0.0.1"}, {Address: "fd00:0::1"}, {Address: ""}}
		admit := func(from string, want bool) func() {
			t.Helper()
			r := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/metrics", nil)
			r.RemoteAddr = from
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			defer cancel()
			leave, err := s.admit(ctx, clientAddr(r), targets)
			if (err == nil) != want {
				t.Fatalf("%s is admitted: %v, want %t", from, err, want)
			}
			return leave
		}
		var leave []func()
		for range cap(s.slots) / 4 {
			leave = append(leave, admit("10.0.0.1:1", true), admit("[fd00::1]:1", true))
		}
		admit("10.0.0.1:2", false)
		admit("[fd00::1]:2", false)
		for range cap(s.slots) / 2 {
			leave = append(leave, admit("10.0.0.2:1", true))
		}
		admit("10.0.0.2:2", false)
		for _, end := range append(leave, leave...) { // a second time without effect
			end()
		}
		if len(s.slots) > 0 || len(s.slotsOfTargets) > 0 {
			t.Errorf("%d and %d places are taken", len(s.slots), len(s.slotsOfTargets))
		}
		admit("not an address", true)
	})
}

// TestWaitingOfOneClient checks that the number of waiting scrapes of a client is bounded, and
// that other clients may wait nevertheless.
func TestWaitingOfOneClient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, _ := newServer(t)
		for range cap(s.slots) {
			s.slots <- struct{}{}
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		took := func(from string) time.Duration {
			start := time.Now()
			if _, err := s.admit(ctx, netip.MustParseAddr(from), nil); err == nil {
				t.Errorf("%s is admitted", from)
			}
			return time.Since(start)
		}
		for range 4 * cap(s.slots) {
			go took("10.0.0.1")
		}
		synctest.Wait()
		if got := took("10.0.0.1"); got != 0 {
			t.Errorf("one more scrape of the client waited %s, want 0", got)
		}
		if got := took("10.0.0.2"); got != time.Second {
			t.Errorf("the scrape of another client waited %s, want 1s", got)
		}
		synctest.Wait()
		if len(s.waiting.scrapes) > 0 {
			t.Errorf("%v are left", s.waiting.scrapes)
		}
	})
}
