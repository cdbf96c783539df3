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

// TestNeverAsked wants targets that got no place until the deadline to be told from
// those that were asked and did not answer.
func TestNeverAsked(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		n := network{hosts: map[string]behaviour{"hangs": saysAndHangs("")}}
		malformed := at("malformed")
		malformed.Problem = &target.Problem{Reason: target.Annotation, Err: context.Canceled}
		results := gather(n.newClient(t, Options{MaxInFlight: 2}), time.Second, at("hangs"), at("hangs"), at("hangs"), at("hangs"), at("hangs"), malformed).Results
		if last := results[5]; last.WasAsked() {
			t.Errorf("a malformed target was asked: %+v", last.Outcome)
		}
		asked := 0
		for _, r := range results[:5] {
			const want = "no whole answer by the deadline: the target was never asked: MAX_IN_FLIGHT is 2, and as many others were being asked until then"
			switch got := r.Outcome; {
			case got.Reason != target.Timeout:
				t.Errorf("the outcome is %+v, want a timeout", got)
			case r.WasAsked():
				asked++
			case got.Err.Error() != want:
				t.Errorf("the error is %v, want %s", got.Err, want)
			}
		}
		if asked != 2 || n.dials != 2 {
			t.Errorf("%d targets were asked, with %d connections, want 2", asked, n.dials)
		}
	})
}

// TestLateMessages wants the error of a target that is late to say what had not come by
// the deadline, whether that stood fast or fell.
func TestLateMessages(t *testing.T) {
	const began, ended = "the deadline passed before the answer began", "the deadline passed before the answer ended"
	hangsWhenDialed := func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	for name, tt := range map[string]struct {
		serve behaviour
		dial  dial // nil = that of the network
		want  string
	}{
		"connection":  {nil, hangsWhenDialed, began},
		"head":        {saysAndHangs(""), nil, began},
		"half a head": {saysAndHangs("HTTP/1.1 200 OK\r\nContent-"), nil, began},
		"body":        {saysAndHangs(head(text, "Content-Length: 100")), nil, ended},
		"half a body": {saysAndHangs(head(text, "Content-Length: 100") + "m 1\n"), nil, ended},
		"drips":       {drips, nil, ended},
		"gzip":        {saysAndHangs(head(text, "Content-Encoding: gzip", "Content-Length: 100") + gzipped("m 1\n")[:5]), nil, ended},
	} {
		for _, first := range []time.Duration{time.Second, time.Minute} {
			t.Run(name+", at first "+first.String(), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					n := network{hosts: map[string]behaviour{"special": tt.serve}}
					c := n.newClient(t, Options{})
					if tt.dial != nil {
						c.usual.Transport.(*http.Transport).DialContext = tt.dial
					}
					start, timeout := time.Now(), first
					got := c.Gather(t.Context(), Request{Targets: fixed(at("special")), Deadline: func(int64) time.Time {
						defer func() { timeout = time.Second }()
						return start.Add(timeout)
					}}).Results[0]
					if want := "no whole answer by the deadline: " + tt.want; got.Outcome.Reason != target.Timeout || got.Outcome.Err.Error() != want || !got.WasAsked() {
						t.Errorf("the outcome is %+v, want a timeout with %s", got.Outcome, want)
					}
				})
			})
		}
	}
}
