package testbed_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

func TestProcess(t *testing.T) {
	bed := newBed(t)
	for _, test := range []struct {
		script  string
		code    int
		wantErr string
	}{
		{script: "trap 'exit 3' TERM; echo ready; while :; do sleep 0.01; done", code: 3},
		{script: "trap '' TERM; echo ready; while :; do sleep 0.01; done", code: -1, wantErr: "ignored SIGTERM"},
	} {
		process, err := bed.Start(testbed.Command{Name: "sh", Path: "/bin/sh", Args: []string{"-c", test.script}})
		if err != nil {
			t.Fatal(err)
		}
		eventually(t, func() bool { return process.Stdout() == "ready\n" })
		for range 2 {
			code, err := process.Stop(300 * time.Millisecond)
			if code != test.code || (err != nil) != (test.wantErr != "") && err != nil {
				t.Errorf("%s: exit code %d, error %v", test.script, code, err)
			}
		}
	}
	process, err := bed.Start(testbed.Command{
		Name: "sh", Path: "/bin/sh", Args: []string{"-c", "env; echo bad >&2; exit 2"}, Env: []string{"A=b"},
	})
	if err != nil {
		t.Fatal(err)
	}
	if code, err := process.Wait(t.Context()); code != 2 || err != nil {
		t.Errorf("exit code %d, error %v", code, err)
	}
	if out := process.Stdout(); !strings.Contains(out, "A=b\n") || strings.Contains(out, "GO") || process.Stderr() != "bad\n" {
		t.Errorf("stdout %q, stderr %q", out, process.Stderr())
	}
	stopAndCheck(t, bed)
}

// TestProcessesDieWithParent runs a program with a bed and kills it with SIGKILL.
func TestProcessesDieWithParent(t *testing.T) {
	const variable = "TESTBED_HOLD"
	if dir := os.Getenv(variable); dir != "" {
		holdBed(dir)
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestProcessesDieWithParent$")
	cmd.Env = append(os.Environ(), variable+"="+dir, "TMPDIR="+dir)
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	pids := map[string]int{"child": 0, "grandchild": 0}
	for name := range pids {
		eventually(t, func() bool {
			content, _ := os.ReadFile(filepath.Join(dir, name))
			pids[name], _ = strconv.Atoi(strings.TrimSpace(string(content)))
			return pids[name] > 0 && exists(pids[name])
		})
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	for _, pid := range pids {
		eventually(t, func() bool { return !exists(pid) })
	}
}

func holdBed(dir string) {
	bed, err := testbed.New(os.Stderr)
	if err != nil {
		panic(err)
	}
	process, err := bed.Start(testbed.Command{Name: "sleep", Path: "/bin/sleep", Args: []string{"600"}})
	if err != nil {
		panic(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "child"), []byte(strconv.Itoa(process.PID())), 0o644); err != nil {
		panic(err)
	}
	script := `sleep 600 & trap "kill $!; exit" TERM; echo $! >"$OUT"; wait`
	_, err = bed.Start(testbed.Command{
		Name: "sh", Path: "/bin/sh", Args: []string{"-c", script}, Env: []string{"OUT=" + filepath.Join(dir, "grandchild")}, Supervisor: true,
	})
	if err != nil {
		panic(err)
	}
	<-process.Exited()
}

func exists(pid int) bool { return syscall.Kill(pid, 0) == nil }

func eventually(t *testing.T, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); !condition(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("condition not true within 10 s")
		}
	}
}
