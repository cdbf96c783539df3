package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// runTestdata runs a project of testdata. It returns the exit code, what was printed, and
// which scripts ran, in their order.
func runTestdata(ctx context.Context, t *testing.T, project string, selected ...string) (int, string, string) {
	t.Helper()
	trace := filepath.Join(t.TempDir(), "trace")
	t.Setenv("TRACE", trace)
	var out bytes.Buffer
	code := run(ctx, options{dir: filepath.Join("testdata", project), selected: selected}, &out)
	ran, err := os.ReadFile(trace)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	return code, out.String(), strings.ReplaceAll(strings.TrimSpace(string(ran)), "\n", ", ")
}

// What runs, in which order, whatever fails, and what is said of it.
func TestRun(t *testing.T) {
	for name, test := range map[string]struct {
		code int
		ran  string
		says []string
	}{
		"good": {
			code: 0,
			ran: "project prepare, one/ prepare, " +
				"each prepare, one/a prepare, one/a execute, one/a restore, each restore, " +
				"each prepare, one/b prepare, one/b execute, one/b restore, each restore, one/ restore, " +
				"two/ prepare, each prepare, two/c prepare, two/c execute, two/c restore, each restore, two/ restore, project restore",
			says: []string{"Successful tasks: 3", "Failed: 0", "Aborted tasks: 0"},
		},
		"broken-task": {
			code: 1,
			ran: "project prepare, one/ prepare, one/execute prepare, one/execute execute, one/execute restore, " +
				"one/prepare prepare, one/prepare restore, one/ restore, " +
				"two/ prepare, two/fine prepare, two/fine execute, two/fine restore, two/ restore, project restore",
			says: []string{
				"Failed: 2\n    - executing one/execute: exit status 1\n    - preparing one/prepare: exit status 1\n",
				"\nwhat went wrong\n", "UNSET_VARIABLE: unbound variable", "Successful tasks: 1\n    - two/fine\n",
			},
		},
		"broken-restore": {
			code: 1,
			ran:  "project prepare, one/ prepare, one/a prepare, one/a execute, one/a restore, one/ restore, project restore",
			says: []string{"Failed: 1\n    - restoring one/a: exit status 1\n", "Aborted tasks: 2\n    - one/b\n    - two/c\n", "Successful tasks: 0"},
		},
		"broken-suite": {
			code: 1,
			ran:  "project prepare, one/ prepare, one/ restore, two/ prepare, two/b prepare, two/b execute, two/b restore, two/ restore, project restore",
			says: []string{"Failed: 1\n    - preparing one/: no such thing here\n", "Aborted tasks: 1\n    - one/a\n"},
		},
		"broken-suite-restore": {
			code: 1,
			ran:  "project prepare, one/ prepare, one/a prepare, one/a execute, one/a restore, one/ restore, project restore",
			says: []string{"Failed: 1\n    - restoring one/: exit status 1\n", "Successful tasks: 1"},
		},
		"broken-project": {
			code: 1,
			ran:  "project prepare, project restore",
			says: []string{"Failed: 1\n    - preparing project: exit status 1\n", "Aborted tasks: 1\n    - one/a\n"},
		},
		"skip": {
			code: 0,
			ran:  "project prepare, one/ prepare, one/ restore, two/ prepare, two/b prepare, two/b execute, two/b restore, two/ restore, project restore",
			says: []string{"SKIPPED tasks: 1, which say nothing\n    - one/a\nbecause of\n    - one/: this machine has no such thing\n", "Successful tasks: 1\n    - two/b\n"},
		},
		"slow": {
			code: 1,
			ran:  "project prepare, one/ prepare, one/a prepare, one/a execute, one/a restore, one/ restore, project restore",
			says: []string{"executing one/a: kill-timeout of 500ms reached"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			code, said, ran := runTestdata(t.Context(), t, name)
			if code != test.code || ran != test.ran {
				t.Errorf("exit code %d, want %d; ran\n%s, want\n%s", code, test.code, ran, test.ran)
			}
			for _, want := range test.says {
				if !strings.Contains(said, want) {
					t.Errorf("want %q in\n%s", want, said)
				}
			}
		})
	}
}

// Where a suite must be able to run, that it is skipped fails the run.
func TestNoSkip(t *testing.T) {
	t.Setenv("TRACE", filepath.Join(t.TempDir(), "trace"))
	var out bytes.Buffer
	code := run(t.Context(), options{dir: "testdata/skip", noSkip: true}, &out)
	for _, want := range []string{"Failed: 1\n    - preparing one/: cannot be skipped: this machine has no such thing\n", "Aborted tasks: 1\n    - one/a\n"} {
		if code != 1 || !strings.Contains(out.String(), want) {
			t.Errorf("exit code %d, want %q in\n%s", code, want, out.String())
		}
	}
}

func TestSelection(t *testing.T) {
	for _, test := range []struct {
		selected, ran string
		code          int
	}{
		{"one/execute", "project prepare, one/ prepare, one/execute prepare, one/execute execute, one/execute restore, one/ restore, project restore", 1},
		{"two/", "project prepare, two/ prepare, two/fine prepare, two/fine execute, two/fine restore, two/ restore, project restore", 0},
		{"two/fin", "", 2},
	} {
		code, said, ran := runTestdata(t.Context(), t, "broken-task", test.selected)
		if code != test.code || ran != test.ran {
			t.Errorf("%s: exit code %d, ran %s; want %d, %s\n%s", test.selected, code, ran, test.code, test.ran, said)
		}
	}
}

func TestEnvironment(t *testing.T) {
	code, said, ran := runTestdata(t.Context(), t, "environment")
	path, err := filepath.Abs("testdata/environment")
	if err != nil {
		t.Fatal(err)
	}
	want := "project prepare, SPREAD_JOB=local:" + systemName() + ":one/a, SPREAD_PROJECT=testdata, SPREAD_PATH=" + path +
		", SPREAD_SUITE=one/, SPREAD_TASK=one/a, PROJECT_PATH=" + path + ", PWD=" + path + "/one/a" +
		", SUITE=of the suite, BOTH=of the task, DEFAULT=default, REFERS=of the suite/default, project restore"
	if code != 0 || ran != want {
		t.Errorf("exit code %d, have\n%s, want\n%s\n%s", code, ran, want, said)
	}
}

// Ctrl-C ends the script that runs; what was prepared is restored.
func TestInterrupt(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		for ctx.Err() == nil {
			if ran, _ := os.ReadFile(os.Getenv("TRACE")); strings.Contains(string(ran), "one/a execute") {
				cancel()
			}
			time.Sleep(10 * time.Millisecond)
		}
	}()
	code, said, ran := runTestdata(ctx, t, "sleep")
	const want = "project prepare, one/ prepare, one/a prepare, one/a execute, one/a restore, one/ restore, project restore"
	if code != 1 || ran != want || !strings.Contains(said, "executing one/a: interrupted") {
		t.Errorf("exit code %d, ran %s\n%s", code, ran, said)
	}
}

// A file that is not understood is not run.
func TestRefusedFiles(t *testing.T) {
	good, err := os.ReadFile("testdata/good/spread.yaml")
	if err != nil {
		t.Fatal(err)
	}
	const goodTask = "summary: x\nexecute: 'true'\n"
	for name, test := range map[string]struct{ project, task, want string }{
		"a key that rockcraft refuses": {string(good) + "path: /root/proj\n", goodTask, "field path not found"},
		"another backend":              {strings.ReplaceAll(string(good), "type: craft", "type: lxd"), goodTask, "backend craft with type: craft"},
		"no summary":                   {string(good), "execute: 'true'\n", "one/a: it needs summary and execute"},
		"nothing to execute":           {string(good), "summary: x\n", "one/a: it needs summary and execute"},
		"a key of tasks unknown":       {string(good), goodTask + "exceute: x\n", "field exceute not found"},
		"a variant":                    {string(good), goodTask + "environment:\n  A/b: c\n", "variants"},
		"a number":                     {string(good), goodTask + "environment:\n  A: 1\n", "must be a string"},
	} {
		dir := t.TempDir()
		for _, file := range []struct{ path, content string }{
			{"spread.yaml", test.project}, {"one/a/task.yaml", test.task}, {"two/c/task.yaml", goodTask},
		} {
			path := filepath.Join(dir, file.path)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(file.content), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		if code := run(t.Context(), options{dir: dir}, &out); code != 2 || !strings.Contains(out.String(), test.want) {
			t.Errorf("%s: exit code %d, %s; want %q", name, code, out.String(), test.want)
		}
	}
}

// The project's own tasks are there and can be read.
func TestOwnTasks(t *testing.T) {
	p, err := readProject("../../..")
	if err != nil {
		t.Fatal(err)
	}
	for suite, want := range map[string]string{
		"tests/suites/spread/rock/":       "health non-root refuses serves starts",
		"tests/suites/spread/kubernetes/": "aggregate lifecycle rbac sharding",
	} {
		var names []string
		for _, task := range p.Suites[suite].tasks {
			names = append(names, strings.TrimPrefix(task.name, suite))
			if task.Prepare == "" || task.Restore == "" {
				t.Errorf("%s has no prepare or no restore", task.name)
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
	if image := p.Suites["tests/suites/spread/rock/"].Environment[0]; version == nil || image.value != "${ROCK_IMAGE:-metrics-proxy:"+version[1]+"}" {
		t.Errorf("%s is %s, want the image that make rock-image makes of version %q", image.name, image.value, version)
	}
}

// What `rockcraft test` calls is there, and refuses what it does not know.
func TestExtension(t *testing.T) {
	const script = "../../../spread/.extension"
	for _, command := range []string{"backend-prepare", "backend-restore", "backend-prepare-each", "backend-restore-each", "discard"} {
		if out, err := exec.CommandContext(t.Context(), script, command, "ci").CombinedOutput(); err != nil || len(out) > 0 {
			t.Errorf("%s: %v %s", command, err, out)
		}
	}
	if out, err := exec.CommandContext(t.Context(), script, "allocate", "cloud").CombinedOutput(); err == nil {
		t.Errorf("a machine of an unknown kind is allocated: %s", out)
	}
}
