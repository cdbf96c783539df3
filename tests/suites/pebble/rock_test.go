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

// TestRock runs the rock's layer with the environment of the container, and stops the
// container while a pod hangs. The scrape in flight takes longer than Pebble's default
// kill-delay.
func TestRock(t *testing.T) {
	withEachPebble(t, func(t *testing.T, p pebble) {
		started := make(chan struct{})
		selector := createPods(t, healthy, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
			close(started)
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
		case <-started:
		case err := <-scraped:
			t.Fatal(err)
		}
		if err := d.process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		if err := <-scraped; err != nil {
			t.Errorf("the scrape in flight failed: %v", err)
		}
		d.wantExit(t, 0)
	})
}

// TestRockExitsWithService checks that the container exits if the service fails, and that the
// output has the reason.
func TestRockExitsWithService(t *testing.T) {
	withEachPebble(t, func(t *testing.T, p pebble) {
		d := startRock(t, p, map[string]string{"POD_LABEL_SELECTOR": "app in ("})
		d.wantExit(t, 10)
		if out := d.process.Stdout(); !strings.Contains(out, `POD_LABEL_SELECTOR`) {
			t.Errorf("the standard output is %q, want one with POD_LABEL_SELECTOR", out)
		}
	})
}
