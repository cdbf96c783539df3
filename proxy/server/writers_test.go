package server

import (
	"bytes"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
)

// bigBody is an exposition of 5 MB, which is more than the buffers of a connection hold.
func bigBody() string {
	var b bytes.Buffer
	for i := range 2500 {
		fmt.Fprintf(&b, "m{i=\"%d\",x=\"%s\"} 1\n", i, strings.Repeat("x", 2000))
	}
	return b.String()
}

// readSlowly sends a scrape, and reads only the beginning of the response.
func readSlowly(t *testing.T, url string) net.Conn {
	t.Helper()
	dialer := net.Dialer{}
	conn, err := dialer.DialContext(t.Context(), "tcp", strings.TrimPrefix(url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	_ = conn.(*net.TCPConn).SetReadBuffer(4096)
	if _, err := io.WriteString(conn, "GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(conn, make([]byte, 100)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// TestSlowReaders checks that clients that do not read their responses do not keep others from
// being served, and that the slowest are cut if there are too many.
func TestSlowReaders(t *testing.T) {
	pod, _ := newTarget(t, "a", bigBody())
	s, _, log := newServer(t, pod)
	s.opts.Client = scrape.New(scrape.Options{ConnectTimeout: 5 * time.Second, BodySizeLimit: 32 << 20})
	s.opts.ScrapeTimeout = time.Minute // slow readers must be cut before
	srv := httptest.NewServer(s.Handler())
	t.Cleanup(srv.Close)
	good := func() {
		t.Helper()
		start := time.Now()
		resp, err := http.Get(srv.URL + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(resp.Body)
		_ = resp.Body.Close()
		if err != nil || resp.StatusCode != http.StatusOK || len(body) < 5_000_000 {
			t.Errorf("got %s, %d bytes, %v after %s", resp.Status, len(body), err, time.Since(start))
		}
	}
	for range cap(s.slots) + 2 {
		readSlowly(t, srv.URL)
	}
	good()
	if got := len(s.slots); got != 0 {
		t.Errorf("%d slots are in use, want none", got)
	}
	log.take()
	s.writers.mu.Lock()
	s.writers.most = 4
	s.writers.mu.Unlock()
	time.Sleep(slowWrite + 100*time.Millisecond)
	good()
	for end := time.Now().Add(10 * time.Second); counted(t, s)["metrics_proxy_scrapes_total slow"] < 6 && time.Now().Before(end); {
		time.Sleep(10 * time.Millisecond)
	}
	got := counted(t, s)
	if slow := got["metrics_proxy_scrapes_total slow"]; slow < 6 || slow > 7 || got["metrics_proxy_scrapes_total whole"] != 2 {
		t.Errorf("%g responses were cut, want 6 or 7, and %g were whole, want 2", slow, got["metrics_proxy_scrapes_total whole"])
	}
	wantLines(t, "at the end", log.take(), []string{"level=WARN", "response cut", "client=127.0.0.1:"})
}

// TestWritersMemory checks that the response whose client is slowest is cut if all of them keep
// too much memory, and no other.
func TestWritersMemory(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ws := &writers{most: 100, memory: 100, all: map[*response]struct{}{}}
		var cut []int
		write := func(id int, held int64, slowness time.Duration) {
			w := &slowWriter{ResponseRecorder: httptest.NewRecorder(), slowness: slowness}
			r := ws.begin(w, held)
			_, err := r.Write([]byte("x"))
			if waited := r.end(); waited != slowness {
				t.Errorf("%d: waited %s, want %s", id, waited, slowness)
			}
			if !w.deadline.IsZero() {
				cut = append(cut, id)
			}
			if err != nil {
				t.Errorf("%d: %v", id, err)
			}
		}
		go write(1, 40, 10*time.Second)
		time.Sleep(2 * time.Second)
		go write(2, 50, 8*time.Second)
		time.Sleep(1500 * time.Millisecond)
		write(3, 20, time.Millisecond) // too much: 1 is cut
		ws.cutSlow()
		time.Sleep(time.Minute)
		synctest.Wait()
		if len(cut) != 1 || cut[0] != 1 || ws.held != 0 || len(ws.all) != 0 {
			t.Errorf("%v were cut, want 1; %d bytes are held, %d responses are left", cut, ws.held, len(ws.all))
		}
		go write(4, 200, time.Minute) // alone, and not slow yet
		time.Sleep(slowWrite - time.Millisecond)
		ws.cutSlow()
		time.Sleep(time.Hour)
		synctest.Wait()
		if len(cut) != 1 {
			t.Errorf("%v were cut, want only 1", cut)
		}
	})
}

// TestSlowClientCostsItself checks that a client that reads slowly does not shorten the time of
// the targets in the scrapes of another client.
func TestSlowClientCostsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, _, log := newServer(t, malformed())
		logDebug(s, log)
		serve := func(client string, slowness time.Duration) string {
			r := request(t, "10")
			r.RemoteAddr = client
			serveMetrics(s, &slowWriter{ResponseRecorder: httptest.NewRecorder(), slowness: slowness}, r)
			lines := log.take()
			return lines[len(lines)-1]
		}
		for range 5 {
			serve("10.0.0.1:1000", 8*time.Second)
			if line := serve("10.0.0.2:1000", 0); !strings.Contains(line, "deadline=9s") {
				t.Errorf("the slow client changed the deadline of another one: %s", line)
			}
		}
		if line := serve("10.0.0.1:1001", 8*time.Second); !strings.Contains(line, "deadline=5s") {
			t.Errorf("the deadline of the slow client is not earlier: %s", line)
		}
		for i := range 10 * maxClients {
			serve(fmt.Sprintf("10.0.1.%d:1", i%256), time.Second)
		}
		if got := len(metricsHistory(s).waitTimes); got != maxClients {
			t.Errorf("%d clients are known, want %d", got, maxClients)
		}
	})
}
