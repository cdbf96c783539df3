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

// TestOrder wants results and samples in the order of the targets, whoever answers
// first.
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
				t.Errorf("result %d is of %s: %+v", i, r.Target.Pod, r.Outcome)
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
		t.Errorf("results %v, answer %q, want none", a.Results, out)
	}
}

// TestMaxInFlight counts how many targets are asked at the same time.
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
					t.Errorf("%d targets were asked at a time, want %d", got, want)
				}
				for _, r := range a.Results {
					if r.Outcome.Reason != target.OK {
						t.Errorf("the outcome is %+v", r.Outcome)
					}
				}
			})
		})
	}
}

// TestMaxInFlightIsGivenBack wants targets that fail to give their places back.
func TestMaxInFlightIsGivenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{hosts: map[string]behaviour{"a": healthy, "hangs": saysAndHangs(""), "500": says("HTTP/1.1 500 Oh\r\n\r\n")}}
		c := n.newClient(t, Options{MaxInFlight: 1})
		for range 3 {
			gather(c, time.Second, at("hangs"), at("500"), at("refuses"))
			wantHealthy(t, gather(c, time.Second, at("a")), "a")
		}
	})
}

// TestReadingPlaces wants no more bodies to be read at a time than there are places:
// 24 bodies that take 10 ms each take 30 ms with 8 places, and 10 ms with 24.
func TestReadingPlaces(t *testing.T) {
	for places, want := range map[int]time.Duration{1: 30 * time.Millisecond, 8: 30 * time.Millisecond, 24: 10 * time.Millisecond} {
		t.Run(fmt.Sprint(places), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := network{hosts: map[string]behaviour{}}
				var targets []*target.Target
				for i := range 24 {
					host := fmt.Sprint("h", i)
					targets = append(targets, at(host))
					n.hosts[host] = func(conn net.Conn) {
						says(head(text, "Content-Length: 4"))(conn)
						_, _ = io.WriteString(conn, "m") // returns when the body is being read
						time.Sleep(10 * time.Millisecond)
						_, _ = io.WriteString(conn, " 1\n")
					}
				}
				c := n.newClient(t, Options{Workers: places})
				start := time.Now()
				for _, r := range gather(c, time.Minute, targets...).Results {
					if r.Outcome.Reason != target.OK {
						t.Errorf("the outcome is %+v", r.Outcome)
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
		t.Errorf("by default there are %d places, want %d", got, want)
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

// TestDrips has more dripping targets than there are places to read bodies. They
// hold all places when the healthy one answers.
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
				t.Errorf("the outcome of a dripping one is %+v, want a timeout", r.Outcome)
			}
		}
	})
}

// TestDeadline wants the answer by the deadline, also where that moves as bytes come.
func TestDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{hosts: map[string]behaviour{"a": healthy, "hangs": saysAndHangs(""), "drips": drips}}
		c := n.newClient(t, Options{})
		start := time.Now()
		a := gather(c, 5*time.Second, at("a"), at("hangs"), at("drips"))
		if took := time.Since(start); took != 5*time.Second {
			t.Errorf("it took %s, want 5s", took)
		}
		wantHealthy(t, a, "a")

		start = time.Now()
		a = c.Gather(t.Context(), Request{Targets: fixed(at("a"), at("hangs")), Deadline: func(bytes int64) time.Time {
			if bytes >= int64(len("healthy 1\n")) {
				return start.Add(3 * time.Second)
			}
			return start.Add(9 * time.Second)
		}})
		if took := time.Since(start); took < 3*time.Second || took > 3100*time.Millisecond {
			t.Errorf("it took %s, want 3s: the deadline moved", took)
		}
		if got := a.Results[1].Outcome.Reason; got != target.Timeout {
			t.Errorf("the outcome is %s, want timeout", got)
		}
		wantHealthy(t, a, "a")

		start = time.Now()
		if gather(c, 5*time.Second, at("a")); time.Since(start) != 0 {
			t.Errorf("it took %s although all had answered", time.Since(start))
		}
	})
}

// TestDeadlineWhileParsing has the deadline come when a body has been read and is
// being checked, which must not make the answer late. Up to then the body is good.
func TestDeadlineWhileParsing(t *testing.T) {
	body := strings.Repeat("m 1\n", 100_000) + "not a line\n"
	for _, tt := range []struct {
		name string
		end  bool // of the time, with the body's end
		want target.Reason
	}{
		{"in time", false, target.Parse}, {"too late", true, target.Timeout},
	} {
		t.Run(tt.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			c := New(Options{BodySizeLimit: 1 << 30})
			c.usual.Transport = roundTrip(func(*http.Request) *http.Response {
				atEnd := func() {
					if tt.end {
						cancel()
					}
				}
				return &http.Response{StatusCode: http.StatusOK, Header: http.Header{"Content-Type": {"text/plain"}}, ContentLength: -1, Body: &endingBody{strings.NewReader(body), atEnd}}
			})
			got := c.scrape(ctx, at("a"), exposition.Format{}, nil, nil).Outcome
			if got.Reason != tt.want || got.Bytes != int64(len(body)) {
				t.Errorf("the outcome is %s (%v) after %d bytes, want %s after %d", got.Reason, got.Err, got.Bytes, tt.want, len(body))
			}
		})
	}
}

// roundTrip answers without a network.
type roundTrip func(*http.Request) *http.Response

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r), nil }

// endingBody calls atEnd when it has been read.
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

// TestClientGone wants the targets not to be waited for when nobody wants the answer.
func TestClientGone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{hosts: map[string]behaviour{"hangs": saysAndHangs(""), "drips": drips}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		start := time.Now()
		n.newClient(t, Options{}).Gather(ctx, Request{Targets: fixed(at("hangs"), at("drips")), Deadline: func(int64) time.Time { return start.Add(time.Hour) }})
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
		deadline := func(int64) time.Time { return end }
		openMetrics := exposition.Negotiate("application/openmetrics-text;version=1.0.0;escaping=values")
		c.Gather(t.Context(), Request{Targets: fixed(one), Format: openMetrics, Deadline: deadline})
		want := http.Header{
			"Accept":                              {openMetrics.Accept()},
			"Accept-Encoding":                     {"identity"},
			"User-Agent":                          {"metrics-proxy/test"},
			"X-Prometheus-Scrape-Timeout-Seconds": {"7.500"},
		}
		if got == nil || got.Method != http.MethodGet || got.URL.String() != "/m?x=1" || got.Host != "a:8080" {
			t.Fatalf("the request is %+v", got)
		}
		if fmt.Sprint(got.Header) != fmt.Sprint(want) {
			t.Errorf("the header is\n%v, want\n%v", got.Header, want)
		}
		c.Gather(t.Context(), Request{Targets: fixed(one), Deadline: deadline, Via: []string{"x", "y"}})
		if accept, other := got.Header.Get("Accept"), (exposition.Format{}).Accept(); accept != other || other == openMetrics.Accept() {
			t.Errorf("for an answer in text it asks for %q, want %q", accept, other)
		}
		if via := got.Header.Values(ViaHeader); !slices.Equal(via, []string{"x", "y"}) {
			t.Errorf("%s is %q, want x and y", ViaHeader, via)
		}
	})
}

// TestRealNetwork has what memory cannot show: sockets, and a whole handshake.
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
	t.Cleanup(c.usual.Transport.(*http.Transport).CloseIdleConnections)
	tests := []struct {
		name string
		url  string
		want target.Reason
	}{
		{"healthy", start((*httptest.Server).Start), target.OK},
		{"refuses", closed.URL, target.Connect},
		{"resets", resets.URL, target.Incomplete},
		{"unknown certificate", start((*httptest.Server).StartTLS), target.TLS},
		{"https of what is http", strings.Replace(start((*httptest.Server).Start), "http:", "https:", 1), target.TLS},
	}
	var targets []*target.Target
	for _, tt := range tests {
		one := at(tt.name)
		one.URL = tt.url
		targets = append(targets, one)
	}
	for i, r := range gather(c, time.Minute, targets...).Results {
		if r.Outcome.Reason != tests[i].want {
			t.Errorf("%s: the outcome is %s (%v), want %s", tests[i].name, r.Outcome.Reason, r.Outcome.Err, tests[i].want)
		}
	}
}

// TestFormats has targets that answer in several formats, and wants the samples of all
// in an answer of each format.
func TestFormats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{hosts: map[string]behaviour{
			"a":    healthy,
			"text": says(answer("# TYPE m_total counter\nm_total 1\n", text)),
			"om":   says(answer("# TYPE m counter\nm_total 2 # {id=\"x\"} 1\n# EOF\n", openMetricsText)),
			"none": says(answer("", openMetricsText)),
			"cut":  says(answer("# TYPE m counter\nm_total 3\n", openMetricsText)),
		}}
		c := n.newClient(t, Options{})
		for accept, want := range map[string][]string{
			"": {"# TYPE m_total counter\n", "m_total{pod=\"text\"} 1\n", "m_total{pod=\"om\"} 2\n"},
			"application/openmetrics-text;version=1.0.0": {"# TYPE m counter\n", "m_total{pod=\"text\"} 1\n", "m_total{pod=\"om\"} 2 # {id=\"x\"} 1\n", "\n# EOF\n"},
		} {
			end := time.Now().Add(time.Minute)
			targets := []*target.Target{at("a"), at("text"), at("om"), at("none"), at("cut")}
			a := c.Gather(t.Context(), Request{Targets: fixed(targets...), Format: exposition.Negotiate(accept), Deadline: func(int64) time.Time { return end }})
			for i, want := range []target.Reason{target.OK, target.OK, target.OK, target.OK, target.Parse} {
				if got := a.Results[i].Outcome; got.Reason != want {
					t.Errorf("accept %q: the outcome of %s is %s (%v), want %s", accept, targets[i].Pod, got.Reason, got.Err, want)
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

// What a pod answered that is gone when all have answered, or that has another address by
// then, is nobody's. That a pod does not answer is no news when it is terminating by then.
func TestPodsThatGoDuringTheScrape(t *testing.T) {
	answers := serves(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte("m 1\n"))
	})
	n := network{hosts: map[string]behaviour{"a": answers, "b": answers, "c": answers, "d": answers}}
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
		Deadline: func(int64) time.Time { return time.Now().Add(5 * time.Second) },
	})
	defer a.Release()
	out := written(t, a)
	for line, want := range map[string]bool{
		`m{pod="a"`: true, `m{pod="b"`: false, `m{pod="c"`: false, `m{pod="d"`: true,
		`up{pod="a"`: true, `up{pod="b"`: false, `up{pod="c"`: false, `up{pod="d"`: true, `up{pod="down"`: true, `up{pod="terminating"`: false,
	} {
		if strings.Contains(out, line) != want {
			t.Errorf("%s in the answer: want %t\n%s", line, want, out)
		}
	}
	if len(a.Results) != 4 {
		t.Errorf("%d results, want those of 4 pods", len(a.Results))
	}
	for _, r := range a.Results {
		if r.Target.Terminating != (r.Target.Pod == "terminating") {
			t.Errorf("%s is terminating: %t", r.Target.Pod, r.Target.Terminating)
		}
	}
}

// Targets without an owner, such as static ones or those of one request, keep their
// responses, each of them, even if the list is built anew for each call.
func TestTargetsWithoutOwner(t *testing.T) {
	n := network{hosts: map[string]behaviour{"a": healthy, "b": healthy}}
	end := time.Now().Add(5 * time.Second)
	a := n.newClient(t, Options{}).Gather(t.Context(), Request{
		Targets:  func() []*target.Target { return []*target.Target{at("a"), at("b"), at("down")} },
		Deadline: func(int64) time.Time { return end },
	})
	defer a.Release()
	wantHealthy(t, a, "a", "b")
	if len(a.Results) != 3 {
		t.Errorf("%d results, want 3", len(a.Results))
	}
}
