package scrape

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// with returns a target at a host of the network with a profile.
func with(host string, p target.Profile) *target.Target {
	t := at(host)
	t.Profile = &p
	return t
}

// TestProfileTimeout checks that the timeout of a target ends only its own request.
func TestProfileTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var timeouts sync.Map // by host
		slow := func(name string) behaviour {
			return serves(func(w http.ResponseWriter, r *http.Request) {
				timeouts.Store(name, r.Header.Get("X-Prometheus-Scrape-Timeout-Seconds"))
				time.Sleep(3 * time.Second)
				sample(w)
			})
		}
		n := network{hosts: map[string]behaviour{"usual": slow("usual"), "short": slow("short"), "long": slow("long")}}
		start := time.Now()
		a := gather(n.newClient(t, Options{}), 4*time.Second, at("usual"), with("short", target.Profile{Timeout: time.Second}), with("long", target.Profile{Timeout: time.Hour}))
		if took := time.Since(start); took != 3*time.Second {
			t.Errorf("the scrape took %s, want 3s", took)
		}
		wantHealthy(t, a, "usual", "long")
		const want = "no complete response by the deadline: the timeout of the target is 1s: the deadline passed before the response started"
		if got := a.Results[1].Outcome; got.Reason != target.Timeout || got.Err.Error() != want || got.Duration != time.Second {
			t.Errorf("got outcome %+v, want a timeout after 1s with %q", got, want)
		}
		for host, want := range map[string]string{"usual": "4.000", "short": "1.000", "long": "4.000"} {
			if got, _ := timeouts.Load(host); got != want {
				t.Errorf("target %s got a timeout of %v s, want %s", host, got, want)
			}
		}
	})
}

// TestProfileTimeoutStartsWithTheRequest checks that the time in which a target waits for a
// slot does not count.
func TestProfileTimeoutStartsWithTheRequest(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		takesASecond := serves(func(w http.ResponseWriter, _ *http.Request) {
			time.Sleep(time.Second)
			sample(w)
		})
		n := network{hosts: map[string]behaviour{"a": takesASecond, "b": takesASecond, "c": takesASecond}}
		p := target.Profile{Timeout: 1500 * time.Millisecond}
		wantHealthy(t, gather(n.newClient(t, Options{MaxInFlight: 1}), time.Minute, with("a", p), with("b", p), with("c", p)), "a", "b", "c")
	})
}

func TestProfileLimits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		three := responds(response("m{a=\"1\"} 1\nm{a=\"2\"} 1\nm{a=\"3\"} 1\n", text))
		n := network{hosts: map[string]behaviour{"a": three, "b": three, "c": three}}
		results := gather(n.newClient(t, Options{SampleLimit: 3}), time.Second,
			at("a"), with("b", target.Profile{SampleLimit: 2}), with("c", target.Profile{BodySizeLimit: 10})).Results
		for i, want := range []target.Reason{target.OK, target.TooManySamples, target.TooLarge} {
			if got := results[i].Outcome.Reason; got != want {
				t.Errorf("%s: got outcome %s, want %s", results[i].Target.Pod, got, want)
			}
		}
	})
}

// TestProfileTransport scrapes a Unix socket and a TCP port.
func TestProfileTransport(t *testing.T) {
	handler := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { sample(w) })
	path := filepath.Join(t.TempDir(), "metrics.sock")
	listener, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	onSocket, onPort := httptest.NewUnstartedServer(handler), httptest.NewServer(handler)
	onSocket.Listener = listener
	onSocket.Start()
	t.Cleanup(onSocket.Close)
	t.Cleanup(onPort.Close)

	transport := NewTransport(TransportOptions{ConnectTimeout: time.Second, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", path)
	}})
	t.Cleanup(transport.CloseIdleConnections)
	socket, port := with("socket", target.Profile{Transport: transport}), at("port")
	port.URL = onPort.URL
	c := New(Options{ConnectTimeout: time.Second, BodySizeLimit: 1 << 20})
	t.Cleanup(c.defaults.Transport.(*http.Transport).CloseIdleConnections)
	wantHealthy(t, gather(c, time.Minute, socket, port), "socket", "port")
}

// fromJSON translates {"name": value}. It refuses any Content-Type other than JSON.
func fromJSON(_ context.Context, contentType string, body io.Reader) (io.Reader, error) {
	if contentType != "application/json" {
		return nil, errors.New("this is not JSON")
	}
	var samples map[string]float64
	if err := json.NewDecoder(body).Decode(&samples); err != nil {
		return nil, err
	}
	var b strings.Builder
	for name, value := range samples {
		fmt.Fprintf(&b, "%s %g\n", name, value)
	}
	return strings.NewReader(b.String()), nil
}

// endless translates to a body without end.
func endless(context.Context, string, io.Reader) (io.Reader, error) { return comments{}, nil }

type comments struct{}

func (comments) Read(p []byte) (int, error) { return copy(p, "# more\n"), nil }

// fails translates to a body that fails after one line.
func fails(context.Context, string, io.Reader) (io.Reader, error) {
	return io.MultiReader(strings.NewReader("m 1\n"), brokenReader{}), nil
}

type brokenReader struct{}

func (brokenReader) Read([]byte) (int, error) { return 0, errors.New("translation failed") }

func TestTranslate(t *testing.T) {
	const asJSON = "Content-Type: application/json"
	for name, tt := range map[string]struct {
		serve     behaviour
		translate func(context.Context, string, io.Reader) (io.Reader, error)
		want      target.Reason
		err       string
	}{
		"JSON":               {responds(response(`{"healthy": 1}`, asJSON)), fromJSON, target.OK, ""},
		"gzipped":            {responds(response(gzipped(`{"healthy": 1}`), asJSON, "Content-Encoding: gzip")), fromJSON, target.OK, ""},
		"another type":       {responds(response("healthy 1\n", text)), fromJSON, target.Parse, "cannot translate the body: this is not JSON"},
		"not JSON":           {responds(response("<html>", asJSON)), fromJSON, target.Parse, "cannot translate the body: invalid character"},
		"not an exposition":  {responds(response(`{"a b c": 1}`, asJSON)), fromJSON, target.Parse, "line 1"},
		"fails later":        {responds(response("x", text)), fails, target.Parse, "cannot translate the body: translation failed"},
		"ends early":         {responds(head(asJSON, "Content-Length: 100") + `{"healthy": `), fromJSON, target.Incomplete, "incomplete HTTP response: "},
		"cannot be decoded":  {responds(response("{}", asJSON, "Content-Encoding: gzip")), fromJSON, target.Encoding, "cannot decode gzip"},
		"too large":          {responds(response(`{"healthy": `+strings.Repeat(" ", 1<<20)+`1}`, asJSON)), fromJSON, target.TooLarge, "1048576 bytes"},
		"too large, zipped":  {responds(response(gzipped(`{"healthy": `+strings.Repeat(" ", 1<<20)+`1}`), asJSON, "Content-Encoding: gzip")), fromJSON, target.TooLarge, "1048576 bytes"},
		"translated endless": {responds(response("x", text)), endless, target.TooLarge, "1048576 bytes"},
		"hangs":              {respondsAndHangs(head(asJSON, "Content-Length: 100") + `{"healthy": `), fromJSON, target.Timeout, "the deadline passed before the response was complete"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				n := network{hosts: map[string]behaviour{"a": tt.serve, "b": healthy}}
				a := gather(n.newClient(t, Options{}), time.Second, with("a", target.Profile{Translate: tt.translate}), at("b"))
				wantHealthy(t, a, "b")
				got := a.Results[0].Outcome
				if got.Reason != tt.want || (got.Err != nil) != (tt.err != "") || got.Err != nil && !strings.Contains(got.Err.Error(), tt.err) {
					t.Errorf("got outcome %+v, want %s with %q", got, tt.want, tt.err)
				}
				if tt.want == target.OK {
					wantHealthy(t, a, "a")
				}
			})
		})
	}
}

// panics translates into nothing.
func panics(context.Context, string, io.Reader) (io.Reader, error) { panic("no translation") }

// A panic while a body is read fails its target, and no other.
func TestPanic(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{hosts: map[string]behaviour{"a": responds(response("x", text)), "b": healthy}}
		a := gather(n.newClient(t, Options{}), time.Second, with("a", target.Profile{Translate: panics}), at("b"))
		wantHealthy(t, a, "b")
		const want = "internal error while reading the body: no translation"
		if got := a.Results[0].Outcome; got.Reason != target.Parse || got.Err.Error() != want {
			t.Errorf("the outcome is %+v, want parse with %q", got, want)
		}
	})
}

// piped translates through a pipe, whose writer ends only if the reader is closed.
func piped(_ context.Context, _ string, body io.Reader) (io.Reader, error) {
	r, w := io.Pipe()
	go func() {
		_, err := io.Copy(w, body)
		_ = w.CloseWithError(err)
	}()
	return r, nil
}

// The result of a translator is closed, also if it was not read to its end: synctest reports a
// goroutine that is left.
func TestTranslatedIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{hosts: map[string]behaviour{"a": responds(response(strings.Repeat("not a line\n", 1000), text)), "b": healthy}}
		results := gather(n.newClient(t, Options{}), time.Second, with("a", target.Profile{Translate: piped}), with("b", target.Profile{Translate: piped})).Results
		for i, want := range []target.Reason{target.Parse, target.OK} {
			if got := results[i].Outcome; got.Reason != want {
				t.Errorf("the outcome of %s is %+v, want %s", results[i].Target.Pod, got, want)
			}
		}
	})
}

// setsHeader is a transport that sets a header, although a transport must not.
type setsHeader struct{ http.RoundTripper }

func (s setsHeader) RoundTrip(r *http.Request) (*http.Response, error) {
	r.Header.Set("Authorization", "secret")
	return s.RoundTripper.RoundTrip(r)
}

// The headers of a profile are for its own targets only.
func TestProfileHeader(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var mu sync.Mutex
		headers := map[string]http.Header{}
		records := func(name string) behaviour {
			return serves(func(w http.ResponseWriter, r *http.Request) {
				mu.Lock()
				headers[name] = r.Header
				mu.Unlock()
				sample(w)
			})
		}
		n := network{hosts: map[string]behaviour{"a": records("a"), "b": records("b"), "c": records("c")}}
		c := n.newClient(t, Options{MaxInFlight: 1})
		p := target.Profile{Transport: setsHeader{c.defaults.Transport}, Header: http.Header{"Accept": {"application/json"}, "X-More": {"1"}}}
		wantHealthy(t, gather(c, time.Second, with("a", p), at("b"), with("c", target.Profile{})), "a", "b", "c")
		if h := headers["a"]; h.Get("Authorization") != "secret" || h.Get("Accept") != "application/json" || h.Get("X-More") != "1" || h.Get("User-Agent") != headers["b"].Get("User-Agent") {
			t.Errorf("the headers for the target with the profile are %v", h)
		}
		for _, host := range []string{"b", "c"} {
			if h := headers[host]; h.Get("Authorization") != "" || h.Get("Accept") == "application/json" || h.Get("X-More") != "" {
				t.Errorf("the headers for target %s are %v", host, h)
			}
		}
	})
}

// TestProfileTLS has servers that a TLS configuration accepts by another name than the host of
// the URL, or rejects because of their version.
func TestProfileTLS(t *testing.T) {
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { sample(w) }))
	srv.Config.ErrorLog = log.New(io.Discard, "", 0)
	srv.TLS = &tls.Config{MaxVersion: tls.VersionTLS12}
	srv.StartTLS()
	t.Cleanup(srv.Close)
	roots := x509.NewCertPool()
	roots.AddCert(srv.Certificate()) // for example.com and 127.0.0.1
	byName := strings.Replace(srv.URL, "127.0.0.1", "localhost", 1)
	for name, tt := range map[string]struct {
		url    string
		config *tls.Config
		want   target.Reason
	}{
		"by address":      {srv.URL, &tls.Config{RootCAs: roots}, target.OK},
		"another name":    {byName, &tls.Config{RootCAs: roots}, target.TLS},
		"its own name":    {byName, &tls.Config{RootCAs: roots, ServerName: "example.com"}, target.OK},
		"minimum version": {srv.URL, &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS13}, target.TLS},
	} {
		transport := NewTransport(TransportOptions{ConnectTimeout: time.Second, TLS: tt.config})
		t.Cleanup(transport.CloseIdleConnections)
		one := with("a", target.Profile{Transport: transport})
		one.URL = tt.url
		if got := gather(New(Options{BodySizeLimit: 1 << 20}), time.Minute, one).Results[0].Outcome; got.Reason != tt.want {
			t.Errorf("%s: the outcome is %+v, want %s", name, got, tt.want)
		}
	}
}
