package server

import (
	"container/list"
	"context"
	"errors"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"time"
)

// reserved is the maximum number of connections beyond the bound, on which only probes are
// served.
const reserved = 16

// maxHeaderBytes bounds the header of a request. net/http adds 4 KiB. A header of many short
// lines takes more than ten times its length in memory.
const maxHeaderBytes = 4 << 10

// Connections bounds the connections of one listener. At the bound, the connection that has
// served no request for longest is closed, so that neither idle connections nor clients that
// send their requests slowly keep others out. If all serve requests, a few more connections are
// accepted, but only for probes, and any others are closed. Safe for concurrent use.
type Connections struct {
	most     int // connections that serve requests other than probes
	reserved int // connections beyond most
	metrics  *metrics
	logger   *slog.Logger
	news     news

	mu   sync.Mutex // guards the fields below
	all  map[net.Conn]*connection
	idle list.List // of the *connection that serve no request, idle for longest first
	busy int       // connections that serve a request
}

// connection is one of Connections. Its fields are guarded by Connections.mu.
type connection struct {
	net.Conn
	idle  *list.Element // nil while it serves a request
	since time.Time     // when it became idle
}

// NewConnections creates the bound of a listener. A few of the connections are for probes only.
func (s *Server) NewConnections(most int) *Connections {
	return &Connections{
		most: most, reserved: min(reserved, max(most/4, 1)),
		metrics: &s.metrics, logger: s.opts.Logger, all: map[net.Conn]*connection{},
	}
}

// Serve serves a listener, as srv.Serve does. The handler of srv is not used outside the bound.
func (c *Connections) Serve(srv *http.Server, l net.Listener) error {
	srv.MaxHeaderBytes = maxHeaderBytes
	srv.ReadHeaderTimeout = 10 * time.Second
	srv.ReadTimeout = 10 * time.Second  // of a body, which no route reads
	srv.WriteTimeout = 30 * time.Second // unless the handler sets another one
	srv.IdleTimeout = 5 * time.Minute
	srv.Handler = c.handler(srv.Handler)
	srv.ConnContext = c.admit
	srv.ConnState = c.changed
	return srv.Serve(&listener{l, c})
}

// connectionKey is the key of the connection in the context of a request.
type connectionKey struct{}

// admit makes room for a new connection, or closes it.
func (c *Connections) admit(ctx context.Context, conn net.Conn) context.Context {
	one := &connection{Conn: conn}
	c.mu.Lock()
	if len(c.all) >= c.most && !c.closeIdle(0) && len(c.all) >= c.most+c.reserved {
		c.mu.Unlock()
		c.refused("new connections are closed")
		_ = conn.Close()
		return ctx // net/http notices that the connection is closed
	}
	c.all[conn] = one
	one.idle, one.since = c.idle.PushBack(one), time.Now()
	c.mu.Unlock()
	c.metrics.connections.Inc()
	return context.WithValue(ctx, connectionKey{}, one)
}

// closeIdle closes the connection that has been idle for longest, if that is at least as long as
// given. The caller holds mu.
func (c *Connections) closeIdle(least time.Duration) bool {
	front := c.idle.Front()
	if front == nil {
		return false
	}
	one := front.Value.(*connection)
	if time.Since(one.since) < least {
		return false
	}
	c.remove(one)
	_ = one.Close()
	c.metrics.closed.WithLabelValues("idle").Inc()
	if c.news.isNews("idle") {
		c.logger.Warn("connection limit reached: idle connections are closed", "max_connections", c.most)
	}
	return true
}

// remove forgets a connection. The caller holds mu.
func (c *Connections) remove(one *connection) {
	delete(c.all, one.Conn)
	if one.idle != nil {
		c.idle.Remove(one.idle)
		one.idle = nil
	} else {
		c.busy--
	}
	c.metrics.connections.Dec()
}

// changed follows the state of a connection.
func (c *Connections) changed(conn net.Conn, state http.ConnState) {
	c.mu.Lock()
	defer c.mu.Unlock()
	one := c.all[conn]
	switch {
	case one == nil:
	case state == http.StateClosed || state == http.StateHijacked:
		c.remove(one)
	case state == http.StateIdle && one.idle == nil:
		one.idle, one.since = c.idle.PushBack(one), time.Now()
		c.busy--
	}
}

// begin records that the connection serves a request until it is idle again. It returns false
// if too many do.
func (c *Connections) begin(one *connection) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if one != nil && one.idle != nil && c.all[one.Conn] == one {
		c.idle.Remove(one.idle)
		one.idle = nil
		c.busy++
	}
	return c.busy <= c.most
}

// handler serves any request on the connections below the bound, and probes on the others.
func (c *Connections) handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		one, _ := r.Context().Value(connectionKey{}).(*connection)
		ok := c.begin(one)
		if r.ContentLength != 0 { // do not wait for a body that no route reads
			w.Header().Set("Connection", "close")
			_ = http.NewResponseController(w).SetReadDeadline(time.Now())
		}
		if !ok && !strings.HasPrefix(r.URL.Path, "/-/") {
			c.refused("requests other than probes are refused on new connections")
			w.Header().Set("Connection", "close")
			http.Error(w, "too many connections: MAX_CONNECTIONS limits them", http.StatusServiceUnavailable)
			return
		}
		next.ServeHTTP(w, r)
	})
}

// refused counts a connection that was refused, and logs the first one.
func (c *Connections) refused(message string) {
	c.metrics.closed.WithLabelValues("refused").Inc()
	if c.news.isNews(message) {
		c.logger.Warn("connection limit reached: all connections serve requests", "so", message, "max_connections", c.most)
	}
}

// freshTime is how long a connection may be idle before it is closed for want of files. The
// request of a new connection is about to arrive.
const freshTime = 50 * time.Millisecond

// listener logs why connections cannot be accepted. If the process has no file descriptors
// left, it closes an idle connection. The http.Server tries again after a while.
type listener struct {
	net.Listener
	connections *Connections
}

func (l *listener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	if err == nil || errors.Is(err, net.ErrClosed) {
		return conn, err
	}
	c := l.connections
	if c.news.isNews("accept: " + err.Error()) {
		c.logger.Warn("cannot accept connections", "err", err)
	}
	if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ENFILE) {
		c.mu.Lock()
		c.closeIdle(freshTime)
		c.mu.Unlock()
	}
	return nil, err
}
