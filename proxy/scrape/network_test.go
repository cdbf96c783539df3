package scrape

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// network is an in-memory network of targets, for a synctest bubble: waiting takes no time,
// and a leaked goroutine fails the test.
type network struct {
	mu    sync.Mutex
	hosts map[string]behaviour
	dials int
	wg    sync.WaitGroup
}

// behaviour serves one connection, which is closed when it returns.
type behaviour func(net.Conn)

func (n *network) dial(_ context.Context, _, address string) (net.Conn, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.dials++
	host, _, err := net.SplitHostPort(address)
	if err != nil || n.hosts[host] == nil {
		return nil, &net.OpError{Op: "dial", Net: "tcp", Err: syscall.ECONNREFUSED}
	}
	client, server := net.Pipe()
	n.wg.Go(func() {
		defer func() { _ = server.Close() }()
		n.hosts[host](server)
	})
	return client, nil
}

// newClient creates a client that uses the network.
func (n *network) newClient(t *testing.T, opts Options) *Client {
	t.Helper()
	if opts.BodySizeLimit == 0 {
		opts.BodySizeLimit = 1 << 20
	}
	opts.ConnectTimeout = 2 * time.Second
	c := New(opts)
	transport := c.defaults.Transport.(*http.Transport)
	transport.DialContext = n.dial
	transport.DialTLSContext = tlsDialer(n.dial, opts.TLS, opts.ConnectTimeout)
	t.Cleanup(func() {
		transport.CloseIdleConnections()
		n.wg.Wait()
	})
	return c
}

// at returns a target at a host of the network.
func at(host string) *target.Target {
	return &target.Target{ID: host, Namespace: "ns", Pod: host, URL: "http://" + host + ":80/metrics", Labels: []target.Label{{Name: "pod", Value: host}}}
}

// gather scrapes targets with a timeout.
func gather(c *Client, timeout time.Duration, targets ...*target.Target) Answer {
	end := time.Now().Add(timeout)
	return c.Gather(context.Background(), Request{Targets: fixed(targets...), Deadline: func(Received) time.Time { return end }})
}

func written(t *testing.T, a Answer) string {
	t.Helper()
	var out strings.Builder
	if _, err := a.WriteTo(&out); err != nil {
		t.Fatal(err)
	}
	return out.String()
}

// responds sends a raw response to a request, and closes the connection.
func responds(response string) behaviour {
	return func(conn net.Conn) {
		if _, err := http.ReadRequest(bufio.NewReader(conn)); err == nil {
			_, _ = io.WriteString(conn, response)
		}
	}
}

// respondsAndHangs sends a raw response to a request, and keeps the connection open.
func respondsAndHangs(response string) behaviour {
	return func(conn net.Conn) {
		responds(response)(conn)
		_, _ = io.Copy(io.Discard, conn)
	}
}

// drips sends a body without end, one byte per second.
func drips(conn net.Conn) {
	responds(head("Content-Type: text/plain", "Transfer-Encoding: chunked"))(conn)
	for {
		if _, err := io.WriteString(conn, chunk("#")); err != nil {
			return
		}
		time.Sleep(time.Second)
	}
}

// floods sends a body of comments without end.
func floods(conn net.Conn) {
	responds(head("Content-Type: text/plain", "Transfer-Encoding: chunked"))(conn)
	comment := chunk(strings.Repeat("#", 4095) + "\n")
	for {
		if _, err := io.WriteString(conn, comment); err != nil {
			return
		}
	}
}

// serves serves HTTP requests with a handler.
func serves(handler http.HandlerFunc) behaviour {
	return func(conn net.Conn) {
		closed := make(chan struct{})
		srv := &http.Server{Handler: handler, ConnState: func(_ net.Conn, state http.ConnState) {
			if state == http.StateClosed {
				close(closed)
			}
		}}
		_ = srv.Serve(&oneConn{conn: conn})
		<-closed
	}
}

// oneConn is a listener that accepts one connection.
type oneConn struct {
	conn net.Conn
}

func (l *oneConn) Accept() (net.Conn, error) {
	if l.conn == nil {
		return nil, net.ErrClosed
	}
	conn := l.conn
	l.conn = nil
	return conn, nil
}

func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{} }
func (l *oneConn) Close() error   { return nil }

// healthy serves the sample healthy.
var healthy = serves(func(w http.ResponseWriter, _ *http.Request) { sample(w) })

func sample(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "text/plain; version=0.0.4")
	_, _ = io.WriteString(w, "healthy 1\n")
}

// head returns the head of a response with status 200.
func head(lines ...string) string {
	return "HTTP/1.1 200 OK\r\n" + strings.Join(lines, "\r\n") + "\r\n\r\n"
}

// response returns a complete response with status 200; lines are header lines.
func response(body string, lines ...string) string {
	return head(append(lines, fmt.Sprintf("Content-Length: %d", len(body)))...) + body
}

// chunk returns a chunk of a chunked body.
func chunk(body string) string { return fmt.Sprintf("%x\r\n%s\r\n", len(body), body) }

func gzipped(body string) string {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, _ = io.WriteString(w, body)
	_ = w.Close()
	return out.String()
}

// fixed returns a Request.Targets for targets that do not change.
func fixed(targets ...*target.Target) func() []*target.Target {
	return func() []*target.Target { return targets }
}
