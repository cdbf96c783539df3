package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

const head = "project: x\nbackends: {craft: {type: craft, systems: [ubuntu-24.04]}}\n"

// writeFiles writes the files of a project, by path, and returns its directory.
func writeFiles(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, content := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// tracedProject creates a project with the tasks one/a, one/b and two/c. Each script records
// that it runs, and then runs the commands that more has for it. recorded returns the records.
func tracedProject(t *testing.T, more map[string]string) (dir string, recorded func() string) {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	level := func(indent, name string, verbs ...string) (text string) {
		for _, verb := range verbs {
			text += fmt.Sprintf("%s%s: |\n%[1]s  echo '%[3]s %[2]s' >> '%[4]s'\n%[1]s  %[5]s\n", indent, verb, name, trace, more[name+" "+verb])
		}
		return text
	}
	files := map[string]string{"spread.yaml": head + more["keys"] + level("", "project", "prepare", "restore") + "suites:\n"}
	for _, suite := range []string{"one/", "two/"} {
		files["spread.yaml"] += "  " + suite + ":\n    summary: x\n" + level("    ", suite, "prepare", "restore")
	}
	for _, task := range []string{"one/a", "one/b", "two/c"} {
		files[task+"/task.yaml"] = "summary: x\n" + level("", task, "prepare", "execute", "restore")
	}
	return writeFiles(t, files), func() string {
		content, err := os.ReadFile(trace)
		if err != nil && !os.IsNotExist(err) {
			t.Fatal(err)
		}
		return strings.ReplaceAll(strings.TrimSpace(string(content)), "\n", ", ")
	}
}

const (
	oneA = "one/a prepare, one/a execute, one/a restore, "
	oneB = "one/b prepare, one/b execute, one/b restore, "
	two  = "two/ prepare, two/c prepare, two/c execute, two/c restore, two/ restore, "
)

// TestRun checks which scripts run, in which order, and what is reported, for each failure.
func TestRun(t *testing.T) {
	for name, test := range map[string]struct {
		more     map[string]string
		selected []string
		noSkip   bool
		code     int
		ran      string // between project prepare and project restore
		reported []string
	}{
		"good": {
			ran:      "one/ prepare, " + oneA + oneB + "one/ restore, " + two,
			reported: []string{"Successful tasks: 3\n    - one/a\n    - one/b\n    - two/c\n", "Failed: 0", "Aborted tasks: 0"},
		},
		"broken tasks": {
			more: map[string]string{"one/a execute": `echo "what went wrong"; false; echo "not reached"`, "one/b prepare": `echo "${UNSET_VARIABLE}"`},
			code: 1,
			ran:  "one/ prepare, " + oneA + "one/b prepare, one/b restore, one/ restore, " + two,
			reported: []string{
				"Failed: 2\n    - executing one/a: exit status 1\n    - preparing one/b: exit status 1\n",
				"\nwhat went wrong\n", "UNSET_VARIABLE: unbound variable", "Successful tasks: 1\n    - two/c\n", "Aborted tasks: 0",
			},
		},
		"broken restore of a task": {
			more:     map[string]string{"one/a restore": "false"},
			code:     1,
			ran:      "one/ prepare, " + oneA + "one/ restore, ",
			reported: []string{"Failed: 1\n    - restoring one/a: exit status 1\n", "Aborted tasks: 2\n    - one/b\n    - two/c\n", "Successful tasks: 0"},
		},
		"broken suite": {
			more:     map[string]string{"one/ prepare": "false"},
			code:     1,
			ran:      "one/ prepare, one/ restore, " + two,
			reported: []string{"Failed: 1\n    - preparing one/: exit status 1\n", "Aborted tasks: 2\n    - one/a\n    - one/b\n"},
		},
		"broken restore of a suite": {
			more:     map[string]string{"one/ restore": "false"},
			code:     1,
			ran:      "one/ prepare, " + oneA + oneB + "one/ restore, ",
			reported: []string{"Failed: 1\n    - restoring one/: exit status 1\n", "Successful tasks: 2", "Aborted tasks: 1\n    - two/c\n"},
		},
		"broken project": {
			more:     map[string]string{"project prepare": "false"},
			code:     1,
			reported: []string{"Failed: 1\n    - preparing project: exit status 1\n", "Aborted tasks: 3\n    - one/a\n    - one/b\n    - two/c\n"},
		},
		"skip": {
			more:     map[string]string{"one/ prepare": `SKIP "this machine has no such thing"`},
			ran:      "one/ prepare, one/ restore, " + two,
			reported: []string{"SKIPPED suites: 1\n    - one/: this machine has no such thing\n", "Successful tasks: 1\n    - two/c\n", "Aborted tasks: 0", "Failed: 0"},
		},
		"no skip": {
			more:     map[string]string{"one/ prepare": `SKIP "this machine has no such thing"`},
			noSkip:   true,
			code:     1,
			ran:      "one/ prepare, one/ restore, " + two,
			reported: []string{"Failed: 1\n    - preparing one/: cannot be skipped: this machine has no such thing\n", "Aborted tasks: 2\n    - one/a\n    - one/b\n"},
		},
		"slow": {
			more:     map[string]string{"keys": "kill-timeout: 500ms\n", "one/a execute": "sleep 60 & sleep 60; wait"},
			selected: []string{"one/a"},
			code:     1,
			ran:      "one/ prepare, " + oneA + "one/ restore, ",
			reported: []string{"executing one/a: kill-timeout of 500ms reached"},
		},
		"one broken task": {more: map[string]string{"one/b execute": "false"}, selected: []string{"one/b"}, code: 1, ran: "one/ prepare, " + oneB + "one/ restore, "},
		"one suite":       {more: map[string]string{"one/a execute": "false"}, selected: []string{"two/"}, ran: two},
	} {
		t.Run(name, func(t *testing.T) {
			dir, recorded := tracedProject(t, test.more)
			var out bytes.Buffer
			code := run(t.Context(), dir, test.noSkip, test.selected, &out)
			if ran := "project prepare, " + test.ran + "project restore"; code != test.code || recorded() != ran {
				t.Errorf("exit code %d, want %d; scripts\n%s, want\n%s", code, test.code, recorded(), ran)
			}
			for _, want := range test.reported {
				if !strings.Contains(out.String(), want) {
					t.Errorf("no %q in\n%s", want, out.String())
				}
			}
		})
	}
}

func TestEnvironment(t *testing.T) {
	t.Setenv("GIVEN", "")
	dir := writeFiles(t, map[string]string{
		"spread.yaml": head + "suites:\n  one/:\n    summary: x\n    environment: {SUITE: of the suite, BOTH: of the suite, DEFAULT: \"${GIVEN:-default}\", REFERS: $SUITE/$DEFAULT}\n",
		"one/a/task.yaml": "summary: x\nenvironment: {BOTH: of the task}\nexecute: |\n  for name in SPREAD_BACKEND SPREAD_PATH PWD SUITE BOTH DEFAULT REFERS; do echo \"$name=${!name}\"; done > \"$SPREAD_PATH/out\"\n" +
			"  test -z \"$(cat)\" # stdin is empty\n",
	})
	var out bytes.Buffer
	code := run(t.Context(), dir, false, nil, &out)
	content, err := os.ReadFile(filepath.Join(dir, "out"))
	want := fmt.Sprintf("SPREAD_BACKEND=local\nSPREAD_PATH=%s\nPWD=%[1]s/one/a\nSUITE=of the suite\nBOTH=of the task\nDEFAULT=default\nREFERS=of the suite/default\n", dir)
	if code != 0 || err != nil || string(content) != want {
		t.Errorf("exit code %d, error %v, got\n%s, want\n%s\n%s", code, err, content, want, out.String())
	}
}

// TestInterrupt checks that Ctrl-C kills the running script, and that everything prepared is
// restored.
func TestInterrupt(t *testing.T) {
	dir, recorded := tracedProject(t, map[string]string{"one/a execute": "sleep 60 & sleep 60; wait"})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if strings.Contains(recorded(), "one/a execute") {
				cancel()
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	var out bytes.Buffer
	code := run(ctx, dir, false, nil, &out)
	if want := "project prepare, one/ prepare, " + oneA + "one/ restore, project restore"; code != 1 || recorded() != want || !strings.Contains(out.String(), "executing one/a: interrupted") {
		t.Errorf("exit code %d, scripts %s\n%s", code, recorded(), out.String())
	}
}

// TestInvalidProject checks that nothing runs if a file is invalid or a task does not exist.
func TestInvalidProject(t *testing.T) {
	const suites, goodTask = "suites: {one/: {summary: x}}\n", "summary: x\nexecute: 'true'\n"
	for name, test := range map[string]struct{ project, task, selected, want string }{
		"a key that rockcraft refuses": {head + suites + "path: /root/proj\n", goodTask, "one/", "field path not found"},
		"a suite without a summary":    {head + "suites: {one/: {prepare: x}}\n", goodTask, "one/", "suite one/: expected a name that ends in /, a summary"},
		"no summary":                   {head + suites, "execute: 'true'\n", "one/", "one/a: expected summary and execute"},
		"nothing to execute":           {head + suites, "summary: x\n", "one/", "one/a: expected summary and execute"},
		"an unknown key of a task":     {head + suites, goodTask + "exceute: x\n", "one/", "field exceute not found"},
		"a variant":                    {head + suites, goodTask + "environment:\n  A/b: c\n", "one/", "variant"},
		"a number":                     {head + suites, goodTask + "environment:\n  A: 1\n", "one/", "expected a name without a variant, and a string"},
		"no such task":                 {head + suites, goodTask, "one/b", `no task or suite is named ["one/b"]`},
	} {
		dir := writeFiles(t, map[string]string{"spread.yaml": test.project, "one/a/task.yaml": test.task})
		var out bytes.Buffer
		if code := run(t.Context(), dir, false, []string{test.selected}, &out); code != 2 || !strings.Contains(out.String(), test.want) {
			t.Errorf("%s: exit code %d, %s; want %q", name, code, out.String(), test.want)
		}
	}
}

// TestOwnTasks checks that the tasks of this project exist and are valid.
func TestOwnTasks(t *testing.T) {
	p, err := readProject("../../..", nil)
	if err != nil {
		t.Fatal(err)
	}
	if p.Backends["craft"]["type"] != "craft" {
		t.Errorf("the backends are %v, want craft with type craft", p.Backends)
	}
	for suite, want := range map[string]string{
		"tests/suites/spread/rock/":       "health non-root refuses serves starts",
		"tests/suites/spread/kubernetes/": "demo",
	} {
		var names []string
		for _, task := range p.Suites[suite].tasks {
			names = append(names, strings.TrimPrefix(task.name, suite))
			if strings.Contains(task.Prepare+task.Execute, "docker run") && !strings.Contains(task.Restore, "docker rm --force") {
				t.Errorf("%s does not remove its container", task.name)
			}
		}
		if have := strings.Join(names, " "); have != want {
			t.Errorf("%s has the tasks %s, want %s", suite, have, want)
		}
	}
	rock, err := os.ReadFile("../../../rockcraft.yaml")
	if err != nil {
		t.Fatal(err)
	}
	version := regexp.MustCompile(`(?m)^version: "(.*)"$`).FindStringSubmatch(string(rock))
	environment := string(p.Suites["tests/suites/spread/rock/"].Environment)
	if version == nil || !strings.Contains(environment, `export IMAGE="${ROCK_IMAGE:-metrics-proxy:`+version[1]+"}\"\n") {
		t.Errorf("the environment is %s, want the image that make rock-image builds, of version %q", environment, version)
	}
}

// TestExtension checks the commands of the script that `rockcraft test` calls.
func TestExtension(t *testing.T) {
	const script = "../../../spread/.extension"
	for _, command := range []string{"backend-prepare", "backend-restore", "backend-prepare-each", "backend-restore-each", "discard"} {
		if out, err := exec.CommandContext(t.Context(), script, command, "ci").CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v %s", command, err, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), script, "allocate", "cloud").CombinedOutput(); err == nil {
		t.Errorf("no error for an unknown kind of machine: %s", out)
	}
}
