package testbed

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"
)

// RunTests runs the tests of a package on one bed, which prepare fills before them, and
// ends the program: it is all of a TestMain.
func RunTests(m *testing.M, prepare func(context.Context, *Bed) error) {
	flag.Parse()
	code, err := runTests(m, prepare)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func runTests(m *testing.M, prepare func(context.Context, *Bed) error) (code int, err error) {
	bed, err := New(os.Stderr)
	if err != nil {
		return 1, err
	}
	defer func() { err = errors.Join(err, bed.Stop()) }()
	if err := prepare(context.Background(), bed); err != nil {
		return 1, err
	}
	return m.Run(), nil
}

// Eventually polls until check returns nil, and fails with its last error after the bound,
// which should be generous.
func Eventually(t testing.TB, bound time.Duration, check func() error) {
	t.Helper()
	deadline := time.Now().Add(bound)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
		time.Sleep(50 * time.Millisecond)
	}
}
