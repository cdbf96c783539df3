package server

import (
	"errors"
	"net/http"
	"testing"
	"testing/synctest"
	"time"

	"github.com/canonical/metrics-k8s-proxy/proxy/scrape"
)

// TestRefusalsThatAreNoNews wants refusals to be counted always, and to be logged when
// they say something new or have not come for long. A whole answer between two makes no
// news of the second: a proxy among its own targets gives both at each scrape.
func TestRefusalsThatAreNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s, d, log := newServer(t)
		counts := map[string]float64{}
		refuse := func(header http.Header, outcome, when string, level string, texts ...string) {
			t.Helper()
			get(t, s.Handler(), "/metrics", header)
			wantLines(t, when, log.take(), append([]string{"level=" + level, `msg="scrape refused"`, "outcome=" + outcome}, texts...))
			counts[outcome]++
		}
		circle := http.Header{scrape.ViaHeader: {"me"}}
		debugged(s, log)
		refuse(circle, "loop", "first", "WARN", "among its own targets")
		for range 100 {
			time.Sleep(5 * time.Minute)
			refuse(circle, "loop", "again", "DEBUG", "among its own targets")
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
		refuse(circle, "loop", "after refusals of another kind", "DEBUG")
		time.Sleep(refusalMemory + time.Second)
		refuse(circle, "loop", "after a long time", "WARN", "among its own targets")
		wantScrapes(t, s, counts)
	})
}
