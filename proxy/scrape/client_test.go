package scrape

import (
	"context"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/exposition"
	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// TestOrder checks that results and samples are in the order of the targets, regardless of
// which one responds first.
func TestOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{hosts: map[string]behaviour{}}
		var targets []*target.Target
		var want []string
		for i := range 10 {
			host := fmt.Sprint("h", i)
			n.hosts[host] = serves(func(w http.ResponseWriter, _ *http.Request) {
				time.Sleep(time.Duration(10-i) * time.Second)
				sample(w)
			})
			targets = append(targets, at(host))
			want = append(want, fmt.Sprintf("healthy{pod=%q} 1", host))
		}
		a := gather(n.newClient(t, Options{}), time.Minute, targets...)
		for i, r := range a.Results {
			if r.Target != targets[i] || r.Outcome.Reason != target.OK {
				t.Errorf("result %d is that of %s: %+v", i, r.Target.Pod, r.Outcome)
			}
		}
		lines := strings.Split(strings.TrimSpace(written(t, a)), "\n")
		if got := lines[len(lines)-10:]; !slices.Equal(got, want) {
			t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
		}
	})
}

func TestNoTargets(t *testing.T) {
	a := gather(New(Options{BodySizeLimit: 1}), time.Second)
	if out := written(t, a); out != "" || len(a.Results) > 0 {
		t.Errorf("got results %v, exposition %q, want none", a.Results, out)
	}
}

// TestMaxInFlight checks how many targets are scraped concurrently.
func TestMaxInFlight(t *testing.T) {
	for limit, want := range map[int]int32{0: 30, 1: 1, 4: 4} {
		t.Run(fmt.Sprint(limit), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var now, most atomic.Int32
				n := network{hosts: map[string]behaviour{"h": serves(func(w http.ResponseWriter, _ *http.Request) {
					if n := now.Add(1); n > most.Load() {
						most.Store(n)
					}
					time.Sleep(time.Second)
					now.Add(-1)
					sample(w)
				})}}
				var targets []*target.Target
				for i := range 30 {
					one := at("h")
					one.Labels = []target.Label{{Name: "pod", Value: fmt.Sprint(i)}}
					targets = append(targets, one)
				}
				a := gather(n.newClient(t, Options{MaxInFlight: limit}), time.Minute, targets...)
				if got := most.Load(); got != want {
					t.Errorf("%d targets were scraped concurrently, want %d", got, want)
				}
				for _, r := range a.Results {
					if r.Outcome.Reason != target.OK {
						t.Errorf("got outcome %+v", r.Outcome)
					}
				}
			})
		})
	}
}

// TestMaxInFlightIsReleased checks that targets that fail release their slots.
func TestMaxInFlightIsReleased(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{hosts: map[string]behaviour{"a": healthy, "hangs": respondsAndHangs(""), "500": responds("HTTP/1.1 500 Oh\r\n\r\n")}}
		c := n.newClient(t, Options{MaxInFlight: 1})
		for range 3 {
			gather(c, time.Second, at("hangs"), at("500"), at("refuses"))
			wantHealthy(t, gather(c, time.Second, at("a")), "a")
		}
	})
}

// TestReadingSlots checks that no more bodies are read concurrently than there are slots: 24
// bodies that take 10 ms each take 30 ms with 8 slots, and 10 ms with 24.
func TestReadingSlots(t *testing.T) {
	for slots, want := range map[int]time.Duration{1: 30 * time.Millisecond, 8: 30 * time.Millisecond, 24: 10 * time.Millisecond} {
		t.Run(fmt.Sprint(slots), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := network{hosts: map[string]behaviour{}}
				var targets []*target.Target
				for i := range 24 {
					host := fmt.Sprint("h", i)
					targets = append(targets, at(host))
					n.hosts[host] = func(conn net.Conn) {
						responds(head(text, "Content-Length: 4"))(conn)
						_, _ = io.WriteString(conn, "m") // returns when the body is being read
						time.Sleep(10 * time.Millisecond)
						_, _ = io.WriteString(conn, " 1\n")
					}
				}
				c := n.newClient(t, Options{Workers: slots})
				start := time.Now()
				for _, r := range gather(c, time.Minute, targets...).Results {
					if r.Outcome.Reason != target.OK {
						t.Errorf("got outcome %+v", r.Outcome)
					}
				}
				if got := time.Since(start); got != want {
					t.Errorf("it took %s, want %s", got, want)
				}
			})
		})
	}
}

func TestWorkers(t *testing.T) {
	if got, want := workers(0, 0), max(8, 8*runtime.GOMAXPROCS(0)); got != want {
		t.Errorf("got %d slots by default, want %d", got, want)
	}
	for _, test := range []struct {
		n     int
		limit int64
		want  int
	}{
		{1, 0, 8}, {8, 0, 8}, {9, 0, 9}, {100, 0, 100},
		{1000, 1 << 30, 128}, {100, 1 << 30, 100}, {100, 32 << 20, 8},
	} {
		if got := workers(test.n, test.limit); got != test.want {
			t.Errorf("workers(%d, %d) is %d, want %d", test.n, test.limit, got, test.want)
		}
	}
}

// TestDrips uses more dripping targets than there are slots to read bodies. They hold all
// slots when the healthy target responds.
func TestDrips(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{hosts: map[string]behaviour{
			"drips": drips,
			"a": serves(func(w http.ResponseWriter, _ *http.Request) {
				time.Sleep(10 * time.Millisecond)
				sample(w)
			}),
		}}
		var targets []*target.Target
		for i := range 100 {
			drip := at("drips")
			drip.Labels = []target.Label{{Name: "pod", Value: fmt.Sprint("drip", i)}}
			targets = append(targets, drip)
		}
		a := gather(n.newClient(t, Options{Workers: 8}), 2*time.Second, append(targets, at("a"))...)
		wantHealthy(t, a, "a")
		for _, r := range a.Results[:100] {
			if r.Outcome.Reason != target.Timeout {
				t.Errorf("got outcome %+v for a dripping target, want a timeout", r.Outcome)
			}
		}
	})
}

// TestDeadline checks that Gather returns by the deadline, also if the deadline changes as
// bytes are received.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{hosts: map[string]behaviour{"a": healthy, "hangs": respondsAndHangs(""), "drips": drips}}
		c := n.newClient(t, Options{})
		start := time.Now()
		a := gather(c, 5*time.Second, at("a"), at("hangs"), at("drips"))
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("it took %s, want 5s", took)
		}
		wantHealthy(t, a, "a")

		start = time.Now()
		a = c.Gather(t.Context(), Request{Targets: fixed(at("a"), at("hangs")), Deadline: func(received Received) time.Time {
			if received.Bytes >= int64(len("healthy 1\n")) {
				return start.Add(3 * time.Second)
			}
			return start.Add(9 * time.Second)
		}})
		if took := time.Since(start); took < 3*time.Second || took > 3100*time.Millisecond {
			t.Errorf("it took %s, want 3s, because the deadline changed", took)
		}
		if got := a.Results[1].Outcome.Reason; got != target.Timeout {
			t.Errorf("got outcome %s, want timeout", got)
		}
		wantHealthy(t, a, "a")

		start = time.Now()
		if gather(c, 5*time.Second, at("a")); time.Since(start) != 0 {
			t.Errorf("it took %s although all targets had responded", time.Since(start))
		}
	})
}

// TestDeadlineWhileParsing checks that parsing stops at a deadline that passes after the body
// has been read. The body is valid except for its last line.
func TestDeadlineWhileParsing(t *testing.T) {
	body := strings.Repeat("m 1\n", 100_000) + "not a line\n"
	for _, tt := range []struct {
		name string
		end  bool // whether the deadline passes at the end of the body
		want target.Reason
	}{
		{"in time", false, target.Parse}, {"too late", true, target.Timeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c := New(Options{BodySizeLimit: 1 << 30})
			c.defaults.Transport = roundTrip(func(*http.Request) *http.Response {
				atEnd := func() {
					if tt.end {
						cancel()
					}
				}
				return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/plain"}}, ContentLength: -1, Body: &endingBody{strings.NewReader(body), atEnd}}
			})
			got := c.scrape(ctx, at("a"), exposition.Format{}, nil, nil).Outcome
			if got.Reason != tt.want || got.Bytes != int64(len(body)) {
				t.Errorf("got outcome %s (%v) after %d bytes, want %s after %d", got.Reason, got.Err, got.Bytes, tt.want, len(body))
			}
		})
	}
}

// roundTrip is a transport without a network.
type roundTrip func(*http.Request) *http.Response

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

// endingBody calls atEnd at the end of the body.
type endingBody struct {
	*strings.Reader
	atEnd func()
}

func (b *endingBody) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if err != nil {
		b.atEnd()
	}
	return n, err
}

func (b *endingBody) Close() error { return nil }

// TestClientGone checks that Gather does not wait for targets once its context has ended.
func TestClientGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{hosts: map[string]behaviour{"hangs": respondsAndHangs(""), "drips": drips}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		n.newClient(t, Options{}).Gather(ctx, Request{Targets: fixed(at("hangs"), at("drips")), Deadline: func(Received) time.Time { return start.Add(time.Hour) }})
		if took := time.Since(start); took != time.Second {
			t.Errorf("it took %s, want 1s", took)
		}
	})
}

func TestKeepAlive(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{hosts: map[string]behaviour{"a": healthy, "b": healthy}}
		c := n.newClient(t, Options{})
		for range 5 {
			wantHealthy(t, gather(c, time.Second, at("a"), at("b")), "a", "b")
			time.Sleep(time.Minute)
		}
		if n.dials != 2 {
			t.Errorf("%d connections in 5 scrapes of 2 targets, want 2", n.dials)
		}
	})
}

func TestRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got *http.Request
		n := network{hosts: map[string]behaviour{"a": serves(func(w http.ResponseWriter, r *http.Request) {
			got = r
			sample(w)
		})}}
		c := n.newClient(t, Options{UserAgent: "metrics-proxy/test"})
		one := at("a")
		one.URL = "http://a:8080/m?x=1"
		end := time.Now().Add(7500 * time.Millisecond)
		deadline := func(Received) time.Time { return end }
		openMetrics := exposition.Negotiate("application/openmetrics-text;version=1.0.0;escaping=values")
		c.Gather(t.Context(), Request{Targets: fixed(one), Format: openMetrics, Deadline: deadline})
		want := http.Header{
			"Accept":                              {openMetrics.Accept()},
			"Accept-Encoding":                     {"identity"},
			"User-Agent":                          {"metrics-proxy/test"},
			"X-Prometheus-Scrape-Timeout-Seconds": {"7.500"},
		}
		if got == nil || got.Method != http.MethodGet || got.URL.String() != "/m?x=1" || got.Host != "a:8080" {
			t.Fatalf("got request %+v", got)
		}
		if fmt.Sprint(got.Header) != fmt.Sprint(want) {
			t.Errorf("got header\n%v\nwant\n%v", got.Header, want)
		}
		c.Gather(t.Context(), Request{Targets: fixed(one), Deadline: deadline, Via: []string{"x", "y"}})
		if accept, other := got.Header.Get("Accept"), (exposition.Format{}).Accept(); accept != other || other == openMetrics.Accept() {
			t.Errorf("for a response in text, the Accept header is %q, want %q", accept, other)
		}
		if via := got.Header.Values(ViaHeader); !slices.Equal(via, []string{"x", "y"}) {
			t.Errorf("%s is %q, want x and y", ViaHeader, via)
		}
	})
}

// TestRealNetwork tests real sockets and a complete handshake, which in-memory connections do
// not cover.
func TestRealNetwork(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { sample(w) })
	start := func(start func(*httptest.Server)) string {
		srv := httptest.NewUnstartedServer(handler)
		srv.Config.ErrorLog = log.New(io.Discard, "", 0)
		start(srv)
		t.Cleanup(srv.Close)
		return srv.URL
	}
	closed := httptest.NewServer(handler)
	closed.Close()
	resets := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := http.NewResponseController(w).Hijack()
		if err == nil {
			_ = conn.(*net.TCPConn).SetLinger(0)
			_ = conn.Close()
		}
	}))
	t.Cleanup(resets.Close)
	c := New(Options{ConnectTimeout: time.Minute, BodySizeLimit: 1 << 20})
	t.Cleanup(c.defaults.Transport.(*http.Transport).CloseIdleConnections)
	tests := []struct {
		name string
		url  string
		want target.Reason
	}{
		{"healthy", start((*httptest.Server).Start), target.OK},
		{"refuses", closed.URL, target.Connect},
		{"resets", resets.URL, target.Incomplete},
		{"unknown certificate", start((*httptest.Server).StartTLS), target.TLS},
		{"https to an http server", strings.Replace(start((*httptest.Server).Start), "http:", "https:", 1), target.TLS},
	}
	var targets []*target.Target
	for _, tt := range tests {
		one := at(tt.name)
		one.URL = tt.url
		targets = append(targets, one)
	}
	for i, r := range gather(c, time.Minute, targets...).Results {
		if r.Outcome.Reason != tests[i].want {
			t.Errorf("%s: got outcome %s (%v), want %s", tests[i].name, r.Outcome.Reason, r.Outcome.Err, tests[i].want)
		}
	}
}

// TestFormats checks that the samples of targets with different formats are in the merged
// exposition of each format.
func TestFormats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{hosts: map[string]behaviour{
			"a":    healthy,
			"text": responds(response("# TYPE m_total counter\nm_total 1\n", text)),
			"om":   responds(response("# TYPE m counter\nm_total 2 # {id=\"x\"} 1\n# EOF\n", openMetricsText)),
			"none": responds(response("", openMetricsText)),
			"cut":  responds(response("# TYPE m counter\nm_total 3\n", openMetricsText)),
		}}
		c := n.newClient(t, Options{})
		for accept, want := range map[string][]string{
			"": {"# TYPE m_total counter\n", "m_total{pod=\"text\"} 1\n", "m_total{pod=\"om\"} 2\n"},
			"application/openmetrics-text;version=1.0.0": {"# TYPE m counter\n", "m_total{pod=\"text\"} 1\n", "m_total{pod=\"om\"} 2 # {id=\"x\"} 1\n", "\n# EOF\n"},
		} {
			end := time.Now().Add(time.Minute)
			targets := []*target.Target{at("a"), at("text"), at("om"), at("none"), at("cut")}
			a := c.Gather(t.Context(), Request{Targets: fixed(targets...), Format: exposition.Negotiate(accept), Deadline: func(Received) time.Time { return end }})
			for i, want := range []target.Reason{target.OK, target.OK, target.OK, target.OK, target.Parse} {
				if got := a.Results[i].Outcome; got.Reason != want {
					t.Errorf("accept %q: got outcome of %s %s (%v), want %s", accept, targets[i].Pod, got.Reason, got.Err, want)
				}
			}
			out := written(t, a)
			for _, line := range append(want, "healthy{pod=\"a\"} 1\n") {
				if !strings.Contains(out, line) {
					t.Errorf("accept %q: %q is missing in\n%s", accept, line, out)
				}
			}
			if strings.HasSuffix(out, "# EOF\n") != (accept != "") {
				t.Errorf("accept %q: the end is wrong in\n%s", accept, out)
			}
		}
	})
}

// TestPodsThatChangeDuringTheScrape checks that the response of a pod is dropped if, after the
// last response, the pod is gone or has another address. A failed scrape of a pod that is
// terminating by then is not reported.
func TestPodsThatChangeDuringTheScrape(t *testing.T) {
	serve := serves(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte("m 1\n"))
	})
	n := network{hosts: map[string]behaviour{"a": serve, "b": serve, "c": serve, "d": serve}}
	c := n.newClient(t, Options{})
	var before []*target.Target
	for _, pod := range []string{"a", "b", "c", "d", "down", "terminating"} {
		one := at(pod)
		one.Owner, one.Address = "uid-"+pod, pod
		before = append(before, one)
	}
	after := []*target.Target{before[0]} // b is gone
	for i, change := range map[int]func(*target.Target){
		2: func(c *target.Target) { c.Address = "elsewhere" },
		3: func(d *target.Target) { d.ID, d.URL = "other path", "http://d/other" },
		4: func(*target.Target) {},
		5: func(t *target.Target) { t.Terminating = true },
	} {
		changed := *before[i]
		change(&changed)
		after = append(after, &changed)
	}
	times := 0
	a := c.Gather(t.Context(), Request{
		Targets: func() []*target.Target {
			if times++; times == 1 {
				return before
			}
			return after
		},
		Deadline: func(Received) time.Time { return time.Now().Add(5 * time.Second) },
	})
	defer a.Release()
	out := written(t, a)
	for line, want := range map[string]bool{
		`m{pod="a"`: true, `m{pod="b"`: false, `m{pod="c"`: false, `m{pod="d"`: true,
		`up{pod="a"`: true, `up{pod="b"`: false, `up{pod="c"`: false, `up{pod="d"`: true, `up{pod="down"`: true, `up{pod="terminating"`: false,
	} {
		if strings.Contains(out, line) != want {
			t.Errorf("%s in the exposition: want %t\n%s", line, want, out)
		}
	}
	if len(a.Results) != 4 {
		t.Errorf("got %d results, want those of 4 pods", len(a.Results))
	}
	for _, r := range a.Results {
		if r.Target.Terminating != (r.Target.Pod == "terminating") {
			t.Errorf("%s: got terminating %t", r.Target.Pod, r.Target.Terminating)
		}
	}
}

// TestTargetsWithoutOwner checks that all targets without an owner, such as static ones, keep
// their responses, even if each call of Targets builds new ones.
func TestTargetsWithoutOwner(t *testing.T) {
	n := network{hosts: map[string]behaviour{"a": healthy, "b": healthy}}
	end := time.Now().Add(5 * time.Second)
	a := n.newClient(t, Options{}).Gather(t.Context(), Request{
		Targets:  func() []*target.Target { return []*target.Target{at("a"), at("b"), at("down")} },
		Deadline: func(Received) time.Time { return end },
	})
	defer a.Release()
	wantHealthy(t, a, "a", "b")
	if len(a.Results) != 3 {
		t.Errorf("got %d results, want 3", len(a.Results))
	}
}

// Of two targets of a pod, each keeps its response by its own address: the source of the other
// one may not know yet that the pod has another address.
func TestTwoTargetsOfAnOwner(t *testing.T) {
	n := network{hosts: map[string]behaviour{"a": healthy, "b": healthy}}
	var before, after []*target.Target
	for _, id := range []string{"a", "b"} {
		one := at(id)
		one.Owner, one.Address = "uid", "10.0.0.1"
		before = append(before, one)
		later := *one
		after = append(after, &later)
	}
	after[1].Address = "10.0.0.2"
	end, times := time.Now().Add(5*time.Second), 0
	a := n.newClient(t, Options{}).Gather(t.Context(), Request{
		Targets: func() []*target.Target {
			if times++; times == 1 {
				return before
			}
			return after
		},
		Deadline: func(Received) time.Time { return end },
	})
	defer a.Release()
	wantHealthy(t, a, "a")
	if len(a.Results) != 1 {
		t.Errorf("got %d results, want that of a only", len(a.Results))
	}
}
