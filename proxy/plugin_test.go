package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// hangingPlugin writes a kubeconfig with a credential plugin that hangs until the test
// ends. The channel is closed when the plugin has started.
func hangingPlugin(t *testing.T) (path string, started <-chan struct{}) {
	t.Helper()
	path, fifo := filepath.Join(t.TempDir(), "config"), filepath.Join(t.TempDir(), "fifo")
	if err := syscall.Mkfifo(fifo, 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(`apiVersion: v1
kind: Config
clusters: [{name: c, cluster: {server: "https://127.0.0.1:1"}}]
users: [{name: u, user: {exec: {apiVersion: client.authentication.k8s.io/v1, command: cat, args: [%q], interactiveMode: Never}}}]
contexts: [{name: good, context: {cluster: c, user: u}}]
current-context: good
`, fifo)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	opened, done := make(chan struct{}), make(chan struct{})
	go func() {
		if f, err := os.OpenFile(fifo, os.O_WRONLY, 0); err == nil { // blocks until cat opens it
			close(opened)
			<-done
			_ = f.Close()
		}
	}()
	t.Cleanup(func() {
		_ = os.Remove(fifo) // so that no other plugin can start
		close(done)
	})
	return path, opened
}

// TestMain runs the program itself in the process that TestPluginHangs starts.
func TestMain(m *testing.M) {
	if os.Getenv("BE_METRICS_PROXY") != "" {
		main()
		return
	}
	m.Run()
}

// TestPluginHangs checks that every command exits although a credential plugin hangs.
func TestPluginHangs(t *testing.T) {
	for command, test := range map[string]struct {
		code   int
		stderr string
	}{
		"serve":  {0, "shutting down after the scrapes in flight"},
		"scrape": {1, "metrics-proxy: pods of all namespaces are not known yet: no answer from the API server yet\n"},
	} {
		t.Run(command, func(t *testing.T) {
			config, started := hangingPlugin(t)
			stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr")) // shared with the plugin
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = stderr.Close() }()
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
			defer cancel()
			cmd := exec.CommandContext(ctx, os.Args[0], command)
			cmd.Env = []string{"BE_METRICS_PROXY=1", "PATH=" + os.Getenv("PATH"), "POD_LABEL_SELECTOR=app=web", "SCRAPE_TIMEOUT=300ms", "KUBECONFIG=" + config, "PORT=" + freePort(t), "METRICS_HTTP_PORT=0"}
			cmd.Stderr = stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			select {
			case <-started:
			case <-ctx.Done():
			}
			if command == "serve" {
				_ = cmd.Process.Signal(syscall.SIGTERM)
			}
			_ = cmd.Wait() // the exit code is checked below
			output, err := os.ReadFile(stderr.Name())
			if err != nil {
				t.Fatal(err)
			}
			if code := cmd.ProcessState.ExitCode(); code != test.code || !strings.Contains(string(output), test.stderr) || strings.Contains(string(output), "level=ERROR") {
				t.Errorf("exit code %d, want %d, and %q in the output:\n%s", code, test.code, test.stderr, output)
			}
		})
	}
}
