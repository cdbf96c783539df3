package scrape

import (
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// TestNotScraped checks that targets that got no slot before the deadline are distinguished
// from those that were scraped and did not respond.
func TestNotScraped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{hosts: map[string]behaviour{"hangs": respondsAndHangs("")}}
		malformed := at("malformed")
		malformed.Problem = &target.Problem{Reason: target.Annotation, Err: context.Canceled}
		results := gather(n.newClient(t, Options{MaxInFlight: 2}), time.Second, at("hangs"), at("hangs"), at("hangs"), at("hangs"), at("hangs"), malformed).Results
		if last := results[5]; last.WasScraped() {
			t.Errorf("a malformed target was scraped: %+v", last.Outcome)
		}
		scraped := 0
		for _, r := range results[:5] {
			const want = "no complete response by the deadline: the target was not scraped: MAX_IN_FLIGHT=2 other scrapes were in progress until then"
			switch got := r.Outcome; {
			case got.Reason != target.Timeout:
				t.Errorf("got outcome %+v, want a timeout", got)
			case r.WasScraped():
				scraped++
			case got.Err.Error() != want:
				t.Errorf("got error %v, want %s", got.Err, want)
			}
		}
		if scraped != 2 || n.dials != 2 {
			t.Errorf("%d targets were scraped over %d connections, want 2", scraped, n.dials)
		}
	})
}

// TestDeadlineMessages checks that the error of a target that is too late names what was
// missing at the deadline, whether or not the deadline changed.
func TestDeadlineMessages(t *testing.T) {
	const started, complete = "the deadline passed before the response started", "the deadline passed before the response was complete"
	hangsWhenDialed := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for name, tt := range map[string]struct {
		serve behaviour
		dial  dial // nil = the dial of the network
		want  string
	}{
		"connection":  {nil, hangsWhenDialed, started},
		"head":        {respondsAndHangs(""), nil, started},
		"half a head": {respondsAndHangs("HTTP/1.1 200 OK\r\nContent-"), nil, started},
		"body":        {respondsAndHangs(head(text, "Content-Length: 100")), nil, complete},
		"half a body": {respondsAndHangs(head(text, "Content-Length: 100") + "m 1\n"), nil, complete},
		"drips":       {drips, nil, complete},
		"gzip":        {respondsAndHangs(head(text, "Content-Encoding: gzip", "Content-Length: 100") + gzipped("m 1\n")[:5]), nil, complete},
	} {
		for _, first := range []time.Duration{time.Second, time.Minute} {
			t.Run(name+", at first "+first.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := network{hosts: map[string]behaviour{"special": tt.serve}}
					c := n.newClient(t, Options{})
					if tt.dial != nil {
						c.defaults.Transport.(*http.Transport).DialContext = tt.dial
					}
					start, timeout := time.Now(), first
					got := c.Gather(t.Context(), Request{Targets: fixed(at("special")), Deadline: func(Received) time.Time {
						defer func() { timeout = time.Second }()
						return start.Add(timeout)
					}}).Results[0]
					if want := "no complete response by the deadline: " + tt.want; got.Outcome.Reason != target.Timeout || got.Outcome.Err.Error() != want || !got.WasScraped() {
						t.Errorf("got outcome %+v, want a timeout with %s", got.Outcome, want)
					}
				})
			})
		}
	}
}

// TestLingering checks that a scrape ends at its deadline although the response of a target is
// still being read, that this target is not scraped again until reading has ended, and that
// nothing is left then.
func TestLingering(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{hosts: map[string]behaviour{"good": responds(head(text) + "m 1\n"), "costly": responds(head(text) + "m 1\n")}}
		c := n.newClient(t, Options{MemoryLimit: 1 << 30})
		c.memory.inUse = func() int64 { return 0 }
		costly := at("costly")
		costly.Profile = &target.Profile{Translate: func(_ context.Context, _ string, body io.Reader) (io.Reader, error) {
			time.Sleep(3500 * time.Millisecond) // whatever the context says
			return body, nil
		}}
		scrape := func(want target.Reason, wantErr string, wantTime time.Duration) {
			t.Helper()
			start := time.Now()
			a := gather(c, time.Second, at("good"), costly)
			took := time.Since(start)
			wantReasons(t, a, target.OK, want)
			if err := a.Results[1].Outcome.Err; err == nil || !strings.Contains(err.Error(), wantErr) {
				t.Errorf("got error %v, want %q", err, wantErr)
			}
			if out := written(t, a); took != wantTime || !strings.Contains(out, `m{pod="good"} 1`) || !strings.Contains(out, `up{pod="costly"} 0`) {
				t.Errorf("after %s: %q, want the response of the good target after %s", took, out, wantTime)
			}
			a.Release()
		}
		scrape(target.Timeout, errUnread.Error(), time.Second+grace)
		if c.Lingering() != 1 {
			t.Errorf("%d targets linger, want 1", c.Lingering())
		}
		for range 2 {
			scrape(target.Timeout, errLingers.Error(), 0)
		}
		time.Sleep(3 * time.Second)
		synctest.Wait()
		if c.Lingering() != 0 || c.memory.bodies != 0 {
			t.Errorf("%d targets linger, and %d bytes are reserved", c.Lingering(), c.memory.bodies)
		}
		scrape(target.Timeout, errUnread.Error(), time.Second+grace)
		time.Sleep(3 * time.Second)
	})
}
