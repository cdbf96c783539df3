package pebble

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/canonical/pebble/client"
)

// TestRock runs the rock's own layer with what the container is given, and ends the
// container while a pod hangs: for longer than Pebble gives a service by default.
func TestRock(t *testing.T) {
	withEachPebble(t, func(t *testing.T, p pebble) {
		asked := make(chan struct{})
		selector := createPods(t, healthy, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(asked)
			<-r.Context().Done()
		}))
		port := freePort(t)
		d := startRock(t, p, map[string]string{"POD_LABEL_SELECTOR": selector, "PORT": strconv.Itoa(port), "SCRAPE_TIMEOUT": "7s"})
		wantReady(t, port)
		d.wantCheck(t, client.CheckStatusUp)

		scraped := make(chan error, 1)
		go func() {
			up, down, samples, err := scrape(t.Context(), port)
			if err == nil && (!slices.Equal(up, []string{"ztunnel-0"}) || !slices.Equal(samples, up) || !slices.Equal(down, []string{"ztunnel-1"})) {
				err = fmt.Errorf("up %q, down %q, samples of %q", up, down, samples)
			}
			scraped <- err
		}()
		select {
		case <-asked:
		case err := <-scraped:
			t.Fatal(err)
		}
		if err := d.process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := <-scraped; err != nil {
			t.Errorf("the scrape in flight: %v", err)
		}
		d.wantEnd(t, 0)
	})
}

// TestRockEndsWithTheService: a container that cannot serve ends and says why.
func TestRockEndsWithTheService(t *testing.T) {
	withEachPebble(t, func(t *testing.T, p pebble) {
		d := startRock(t, p, map[string]string{"POD_LABEL_SELECTOR": "app in ("})
		d.wantEnd(t, 10)
		if out := d.process.Stdout(); !strings.Contains(out, `POD_LABEL_SELECTOR`) {
			t.Errorf("standard output %q does not say why", out)
		}
	})
}
