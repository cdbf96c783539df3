package scrape

import (
	"context"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// TestWorks checks the order in which work is admitted, and how much of it at a time.
func TestWorks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &works{most: 2, mostLarge: 1, scratch: 100}
		began, starts := time.Now(), sync.Map{}
		start := func(name string, bytes, scratch int64) {
			go func() {
				done, err := s.start(t.Context(), bytes, scratch)
				if err != nil {
					t.Error(err)
					return
				}
				starts.Store(name, time.Since(began))
				time.Sleep(time.Second)
				done()
			}()
			synctest.Wait()
		}
		start("large", largeWork+3, 10)
		start("larger", largeWork+4, 10)
		start("small", 3, 80)
		start("smaller", 2, 20)
		start("smallest", 1, 200) // takes all scratch
		time.Sleep(10 * time.Second)
		synctest.Wait()
		for name, want := range map[string]time.Duration{"large": 0, "small": 0, "smallest": 1, "smaller": 2, "larger": 2} {
			if got, _ := starts.Load(name); got != want*time.Second {
				t.Errorf("%s started after %v, want %s", name, got, want*time.Second)
			}
		}
		if s.running != 0 || s.large != 0 || s.used != 0 || len(s.waitlist) != 0 {
			t.Errorf("something is left: %+v", s)
		}
	})
}

// TestWorksEnd checks that waiting ends with the context, and that work is refused which could
// never start.
func TestWorksEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &works{most: 1, mostLarge: 1, scratch: 100, isStrict: true}
		if _, err := s.start(t.Context(), 1, 101); !errors.Is(err, errMemory) {
			t.Errorf("got error %v, want %v", err, errMemory)
		}
		done, err := s.start(t.Context(), 2, 100)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if _, err := s.start(ctx, 1, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got error %v, want that of the context", err)
		}
		done()
		if s.running != 0 || s.used != 0 || len(s.waitlist) != 0 {
			t.Errorf("something is left: %+v", s)
		}
	})
}
