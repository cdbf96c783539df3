package main

import (
	"context"
	"errors"
	"flag"
	"io"
	"strings"
	"testing"
)

// TestFlagsOfCommands checks that each command has its own flags and its own help.
func TestFlagsOfCommands(t *testing.T) {
	var port int
	ran := 0
	table := func() []command {
		flags := new(flag.FlagSet)
		flags.IntVar(&port, "port", 8080, "port to listen on")
		return []command{
			{name: "plain", help: "do nothing", run: func(context.Context, call) error { return nil }},
			{name: "sidecar", help: "merge the containers of one pod", flags: flags, run: func(context.Context, call) error { ran++; return nil }},
		}
	}
	for _, tt := range []struct {
		args []string
		port int    // 0 = the command does not run
		out  string // part of the output
		err  string // part of the usageError
	}{
		{args: []string{"sidecar"}, port: 8080},
		{args: []string{"sidecar", "--port=9"}, port: 9},
		{args: []string{"sidecar", "-port", "10"}, port: 10},
		{args: []string{"sidecar", "--help"}, out: "port to listen on (default 8080)"},
		{args: []string{"sidecar", "--port=x"}, err: `sidecar: invalid value "x" for flag -port`},
		{args: []string{"sidecar", "--prt=1"}, err: "flag provided but not defined: -prt: see metrics-proxy sidecar --help"},
		{args: []string{"sidecar", "more"}, err: `sidecar accepts only flags, but got "more"`},
		{args: []string{"plain", "--port=1"}, err: "2 arguments"},
		{args: []string{"other"}, err: `unknown command "other", expected plain or sidecar`},
	} {
		port, ran = 0, 0
		var out strings.Builder
		err := dispatch(t.Context(), table(), tt.args, call{stdout: &out, stderr: io.Discard})
		bad := usageError{}
		if (tt.err != "") != errors.As(err, &bad) || tt.err == "" && err != nil || tt.err != "" && !strings.Contains(err.Error(), tt.err) {
			t.Errorf("%q: got error %v, want %q", tt.args, err, tt.err)
		}
		if (ran == 1) != (tt.port != 0) || ran == 1 && port != tt.port {
			t.Errorf("%q: ran %d times with port %d, want port %d", tt.args, ran, port, tt.port)
		}
		if (out.Len() > 0) != (tt.out != "") || !strings.Contains(out.String(), tt.out) {
			t.Errorf("%q printed %q, want %q", tt.args, out.String(), tt.out)
		}
	}
}
