package server

import (
	"bufio"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// bounded is a server with a bound of its connections.
type bounded struct {
	*Server
	address string
	log     *logged
	wait    chan struct{} // /wait responds when it is closed
	serving chan struct{} // one element for each request to /wait
}

// newBounded starts a server that accepts this many connections on a listener.
func newBounded(t *testing.T, most int, wrap func(net.Listener) net.Listener) *bounded {
	t.Helper()
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	b := &bounded{address: l.Addr().String(), wait: make(chan struct{}), serving: make(chan struct{}, 1000)}
	b.Server, _, b.log = newServer(t)
	mux := http.NewServeMux()
	mux.Handle("/", b.Handler())
	mux.HandleFunc("/wait", func(http.ResponseWriter, *http.Request) {
		b.serving <- struct{}{}
		<-b.wait
	})
	srv := &http.Server{Handler: mux, ErrorLog: slog.NewLogLogger(b.opts.Logger.Handler(), slog.LevelDebug)}
	if wrap != nil {
		l = wrap(l)
	}
	t.Cleanup(func() { _ = srv.Close() })
	go func() { _ = b.NewConnections(most).Serve(srv, l) }()
	return b
}

// open opens a connection and sends text.
func (b *bounded) open(t *testing.T, text string) net.Conn {
	t.Helper()
	conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", b.address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_, _ = io.WriteString(conn, text) // the server may have closed it
	_ = conn.SetReadDeadline(time.Now().Add(20 * time.Second))
	return conn
}

// get sends a request on a new connection and returns the status, or 0 if it was closed.
func (b *bounded) get(t *testing.T, path string) int {
	t.Helper()
	return responseOn(b.open(t, requestText(path)))
}

func requestText(path string) string { return "GET " + path + " HTTP/1.1\r\nHost: a\r\n\r\n" }

// responseOn reads a response and returns its status, or 0 if the connection was closed.
func responseOn(conn net.Conn) int {
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	defer func() { _ = resp.Body.Close() }()
	_, _ = io.Copy(io.Discard, resp.Body)
	return resp.StatusCode
}

// wantMetric waits until an own metric has at least this value.
func (b *bounded) wantMetric(t *testing.T, series string, want float64) {
	t.Helper()
	var got float64
	for end := time.Now().Add(10 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if got = counted(t, b.Server)[series]; got >= want {
			return
		}
	}
	t.Errorf("%s is %g, want at least %g", series, got, want)
}

// TestIdleConnections checks that connections that send nothing, half a request, or no more
// requests, keep nobody out, that the one that is idle for longest is closed first, and that
// this is counted, and logged once.
func TestIdleConnections(t *testing.T) {
	const most = 8
	for name, text := range map[string]string{"silent": "", "half a header": "GET /metrics HTTP/1.1\r\nHost: a\r\nX: ", "keep-alive": requestText("/metrics")} {
		t.Run(name, func(t *testing.T) {
			b := newBounded(t, most, nil)
			var flood []net.Conn
			for i := range 100 {
				conn := b.open(t, text)
				flood = append(flood, conn)
				if name == "keep-alive" {
					if got := responseOn(conn); got != http.StatusOK {
						t.Fatalf("connection %d: got status %d", i, got)
					}
				}
				b.wantMetric(t, "metrics_proxy_connections_closed_total idle", float64(max(i+1-most, 0)))
			}
			for _, path := range []string{"/metrics", "/-/healthy", "/-/ready"} {
				if got := b.get(t, path); got != http.StatusOK {
					t.Errorf("%s: got status %d", path, got)
				}
			}
			for i, conn := range flood[:100-most] {
				_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
				if _, err := conn.Read(make([]byte, 1)); err == nil || strings.Contains(err.Error(), "timeout") {
					t.Errorf("connection %d is open (%v), want the %d that were idle for longest to be closed", i, err, 100-most)
				}
			}
			if got := counted(t, b.Server)["metrics_proxy_connections"]; got > most {
				t.Errorf("%g connections are open, want at most %d", got, most)
			}
			wantLines(t, "at the end", b.log.take(), []string{"level=WARN", "idle connections are closed", "max_connections=8"})
		})
	}
}

// TestBusyConnections checks that probes are served while all connections serve requests, that
// other requests are refused, and that the number of connections is bounded all the same.
func TestBusyConnections(t *testing.T) {
	const most = 64
	b := newBounded(t, most, nil)
	var flood []net.Conn
	for range most {
		flood = append(flood, b.open(t, requestText("/wait")))
	}
	for range most {
		<-b.serving
	}
	for range 20 {
		for path, want := range map[string]int{"/metrics": http.StatusServiceUnavailable, "/-/healthy": http.StatusOK, "/-/ready": http.StatusOK} {
			if got := b.get(t, path); got != want {
				t.Errorf("%s: got status %d, want %d", path, got, want)
			}
		}
		b.open(t, "") // neither do idle connections keep probes out
	}
	if got := counted(t, b.Server)["metrics_proxy_connections"]; got > most+reserved {
		t.Errorf("%g connections are open, want at most %d", got, most+reserved)
	}
	b.wantMetric(t, "metrics_proxy_connections_closed_total refused", 20)
	close(b.wait)
	for _, conn := range flood {
		if got := responseOn(conn); got != http.StatusOK {
			t.Errorf("a request in progress got status %d", got)
		}
	}
	if got := b.get(t, "/metrics"); got != http.StatusOK {
		t.Errorf("afterwards: got status %d", got)
	}
	refused := 0
	for _, line := range b.log.take() {
		if strings.Contains(line, "all connections serve requests") {
			refused++
		}
	}
	if refused != 1 {
		t.Errorf("refused connections were logged %d times, want once", refused)
	}
}

// TestReserveIsBounded checks that a connection is closed if even the reserve is in use.
func TestReserveIsBounded(t *testing.T) {
	b := newBounded(t, 4, nil)
	c := &Connections{most: 4, reserved: 1, metrics: &b.metrics, logger: b.opts.Logger, all: map[net.Conn]*connection{}}
	var ends []net.Conn
	for range 6 {
		ours, theirs := net.Pipe()
		ends = append(ends, theirs)
		ctx := c.admit(t.Context(), ours)
		if one, ok := ctx.Value(connectionKey{}).(*connection); ok {
			c.begin(one)
		}
	}
	if len(c.all) != 5 || c.busy != 5 {
		t.Errorf("%d connections are accepted, %d busy, want 5", len(c.all), c.busy)
	}
	_ = ends[5].SetReadDeadline(time.Now().Add(5 * time.Second))
	if _, err := ends[5].Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("reading from the last connection: got %v, want EOF", err)
	}
	for conn := range c.all {
		c.changed(conn, http.StateClosed)
	}
	if got := counted(t, b.Server)["metrics_proxy_connections"]; got != 0 || c.busy != 0 || c.idle.Len() != 0 {
		t.Errorf("%g connections are left, %d busy, %d idle", got, c.busy, c.idle.Len())
	}
}

// TestRequestBodies checks that a client that announces a body and does not send it is served
// without waiting for the body, and that its connection is closed.
func TestRequestBodies(t *testing.T) {
	b := newBounded(t, 8, nil)
	for _, header := range []string{"Content-Length: 1000", "Transfer-Encoding: chunked", "Content-Length: 1000\r\nExpect: 100-continue"} {
		conn := b.open(t, "GET /metrics HTTP/1.1\r\nHost: a\r\n"+header+"\r\n\r\n")
		_ = conn.SetReadDeadline(time.Now().Add(5 * time.Second))
		if got, err := io.ReadAll(conn); err != nil || !strings.HasPrefix(string(got), "HTTP/1.1 200 OK\r\n") {
			t.Errorf("%s: got %q, %v", header, got, err)
		}
	}
}

func TestLongHeader(t *testing.T) {
	b := newBounded(t, 8, nil)
	for size, want := range map[int]int{maxHeaderBytes / 2: http.StatusOK, 2 * maxHeaderBytes: http.StatusRequestHeaderFieldsTooLarge} {
		conn := b.open(t, "GET /metrics HTTP/1.1\r\nHost: a\r\nX: "+strings.Repeat("x", size)+"\r\n\r\n")
		if got := responseOn(conn); got != want {
			t.Errorf("with a header of %d bytes: got status %d, want %d", size, got, want)
		}
	}
}

// fullListener fails to accept for a while, as if the process had too many files open.
type fullListener struct {
	net.Listener
	mu    sync.Mutex
	fails int
}

func (l *fullListener) Accept() (net.Conn, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.fails > 0 {
		l.fails--
		return nil, &net.OpError{Op: "accept", Net: "tcp", Err: os.NewSyscallError("accept4", syscall.EMFILE)}
	}
	l.mu.Unlock()
	defer l.mu.Lock()
	return l.Listener.Accept()
}

// TestTooManyFiles checks that a server that cannot accept connections logs that once, closes an
// idle connection, and accepts connections again.
func TestTooManyFiles(t *testing.T) {
	full := &fullListener{}
	b := newBounded(t, 8, func(l net.Listener) net.Listener { full.Listener = l; return full })
	idle := b.open(t, requestText("/metrics"))
	if got := responseOn(idle); got != http.StatusOK {
		t.Errorf("got status %d", got)
	}
	time.Sleep(freshTime)
	full.mu.Lock()
	full.fails = 4
	full.mu.Unlock()
	for range 2 { // the first one was being accepted before
		if got := b.get(t, "/metrics"); got != http.StatusOK {
			t.Errorf("got status %d", got)
		}
	}
	if _, err := idle.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
		t.Errorf("reading from the idle connection: got %v, want EOF", err)
	}
	logged := strings.Join(b.log.take(), "")
	if strings.Count(logged, "cannot accept connections") != 1 || !strings.Contains(logged, "too many open files") {
		t.Errorf("logged %q, want one line about files", logged)
	}
}

// TestConnectionsGauge checks that closed connections are forgotten.
func TestConnectionsGauge(t *testing.T) {
	b := newBounded(t, 8, nil)
	conn := b.open(t, requestText("/metrics"))
	if got := responseOn(conn); got != http.StatusOK {
		t.Errorf("got status %d", got)
	}
	b.wantMetric(t, "metrics_proxy_connections", 1)
	_ = conn.Close()
	for end := time.Now().Add(10 * time.Second); counted(t, b.Server)["metrics_proxy_connections"] > 0; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("a closed connection is counted as open")
		}
	}
}
