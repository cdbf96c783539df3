package scrape

import (
	"context"
	"net"
	"net/http"
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
					got := c.Gather(t.Context(), Request{Targets: fixed(at("special")), Deadline: func(int64) time.Time {
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
