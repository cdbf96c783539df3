package discovery

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// TestGateway has something else answer in place of the API server.
func TestGateway(t *testing.T) {
	const want = "has no resourceVersion"
	t.Run("from the start", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			api := fakeAPI{isGateway: true}
			p, _ := api.follow(t, nil)
			time.Sleep(time.Minute)
			synctest.Wait()
			if err := p.Ready(); err == nil || !strings.Contains(err.Error(), "cannot use the list of pods from http://api: it "+want) {
				t.Errorf("Ready is %v, want that the list %s", err, want)
			}
		})
	})
	t.Run("later", func(t *testing.T) {
		synctest.Test(t, func(t *testing.T) {
			var api fakeAPI
			p, _ := api.follow(t, nil)
			api.put(newPod("a", nil))
			api.goDown()
			api.set(func() { api.isDown, api.isGateway = false, true })
			time.Sleep(time.Hour)
			synctest.Wait()
			wantTargets(t, p, "a http://10.0.0.1:80/metrics")
			if err := p.Current(); err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("Current is %v, want that the list %s", err, want)
			}
		})
	})
}
