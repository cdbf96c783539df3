package main

import (
	"context"
	"strings"
	"testing"
)

func TestParsePod(t *testing.T) {
	p, err := parsePod([]string{"web-0", "-namespace", "a", "-label", "app=web,tier="})
	if err != nil || p.key() != "a/web-0" || len(p.labels) != 2 || p.labels["app"] != "web" || p.says != `said{by="web-0"} 1` {
		t.Errorf("pod is %+v, %v", p, err)
	}
	for _, args := range []string{"-namespace", "web-0 web-1", "web-0 -label app", "web-0 -colour red"} {
		if _, err := parsePod(strings.Fields(args)); err == nil {
			t.Errorf("%q is taken", args)
		}
	}
}

// Whatever is wrong, a script learns of it.
func TestWrongCommands(t *testing.T) {
	dir := t.TempDir()
	for _, test := range []struct{ dir, args, want string }{
		{"", "start", "BED is not set"},
		{dir, "", "no command is given"},
		{dir, "pod web-0", "no test bed runs in"},
	} {
		if err := run(t.Context(), test.dir, strings.Fields(test.args)); err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%q: %v, want %q", test.args, err, test.want)
		}
	}
	if err := run(t.Context(), dir, []string{"stop"}); err != nil {
		t.Errorf("stop without a bed: %v", err)
	}
	s := server{pods: map[string]pod{}}
	for args, want := range map[string]string{
		"fly":              `no command "fly": want one of allow, annotate`,
		"pod":              "pod has 0 arguments: want 1",
		"delete a/b":       "no pod a/b was made here",
		"annotate a/b k=v": "no pod a/b was made here",
	} {
		fields := strings.Fields(args)
		if _, err := s.run(context.Background(), fields[0], fields[1:]); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", args, err, want)
		}
	}
}
