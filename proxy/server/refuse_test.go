package server

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
)

// TestRepeatedRefusals checks that refusals are always counted, and logged as warnings only if
// the message is new or has not occurred for a long time. A successful scrape between two
// refusals does not matter, because a proxy among its own targets has both in each scrape.
func TestRepeatedRefusals(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d, log := newServer(t)
		counts := map[string]float64{}
		refuse := func(header http.Header, outcome, when string, level string, texts ...string) {
			t.Helper()
			get(t, s.Handler(), "/metrics", header)
			wantLines(t, when, log.take(), append([]string{"level=" + level, `msg="scrape refused"`, "outcome=" + outcome}, texts...))
			counts[outcome]++
		}
		loop := http.Header{scrape.ViaHeader: {"me"}}
		logDebug(s, log)
		refuse(loop, "loop", "first", "WARN", "among its own targets")
		for range 100 {
			time.Sleep(5 * time.Minute)
			refuse(loop, "loop", "again", "DEBUG", "among its own targets")
			get(t, s.Handler(), "/metrics", nil)
			counts["whole"]++
			log.take()
		}
		d.problem = errors.New("one reason")
		refuse(nil, "not_ready", "another kind", "WARN", "one reason")
		refuse(nil, "not_ready", "another kind again", "DEBUG", "one reason")
		d.problem = errors.New("another one")
		refuse(nil, "not_ready", "for another reason", "WARN", "another one")
		d.problem = nil
		refuse(loop, "loop", "after refusals of another kind", "DEBUG")
		time.Sleep(refusalLogInterval + time.Second)
		refuse(loop, "loop", "after a long time", "WARN", "among its own targets")
		wantScrapes(t, s, counts)
	})
}
