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

// hangingPlugin is a kubeconfig with a credential plugin that does not end. The channel
// is closed when it has begun.
func hangingPlugin(t *testing.T) (path string, begun <-chan struct{}) {
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
	reads, isOver := make(chan struct{}), make(chan struct{})
	go func() {
		if f, err := os.OpenFile(fifo, os.O_WRONLY, 0); err == nil { // opens when cat does
			close(reads)
			<-isOver
			_ = f.Close()
		}
	}()
	t.Cleanup(func() {
		_ = os.Remove(fifo) // no other may begin
		close(isOver)
	})
	return path, reads
}

// TestMain is the program itself where TestPluginHangs starts it.
func TestMain(m *testing.M) {
	if os.Getenv("BE_METRICS_PROXY") != "" {
		main()
		return
	}
	m.Run()
}

// TestPluginHangs wants a credential plugin that hangs to keep no command from its end.
func TestPluginHangs(t *testing.T) {
	for command, test := range map[string]struct {
		code int
		said string
	}{
		"serve":  {0, "stopping when the scrapes in flight are answered"},
		"scrape": {1, "metrics-proxy: pods of all namespaces are not known yet: no answer from the API server yet\n"},
	} {
		t.Run(command, func(t *testing.T) {
			config, begun := hangingPlugin(t)
			stderr, err := os.Create(filepath.Join(t.TempDir(), "stderr")) // which the plugin has, too
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
			case <-begun:
			case <-ctx.Done():
			}
			if command == "serve" {
				_ = cmd.Process.Signal(syscall.SIGTERM)
			}
			_ = cmd.Wait() // the exit code tells
			said, err := os.ReadFile(stderr.Name())
			if err != nil {
				t.Fatal(err)
			}
			if code := cmd.ProcessState.ExitCode(); code != test.code || !strings.Contains(string(said), test.said) || strings.Contains(string(said), "level=ERROR") {
				t.Errorf("exit code %d, want %d and %q, said\n%s", code, test.code, test.said, said)
			}
		})
	}
}
