package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"
)

// startBound allows for programs that have to be built first.
const startBound = 15 * time.Minute

// start runs serve in a session of its own and returns when it answers.
func start(ctx context.Context, dir string) error {
	if answers(ctx, dir) {
		return fmt.Errorf("a test bed runs in %s already", dir)
	}
	self, err := os.Executable()
	if err != nil {
		return err
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return err
	}
	defer func() { _ = log.Close() }()
	cmd := exec.CommandContext(context.WithoutCancel(ctx), self, "serve")
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- cmd.Wait() }()
	ctx, cancel := context.WithTimeout(ctx, startBound)
	defer cancel()
	for !answers(ctx, dir) {
		select {
		case err := <-ended:
			content, _ := os.ReadFile(log.Name())
			return fmt.Errorf("the test bed did not start: %w\n%s", err, content)
		case <-ctx.Done():
			_ = cmd.Process.Signal(syscall.SIGTERM)
			return fmt.Errorf("the test bed did not start within %s: %w", startBound, ctx.Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
	return nil
}

// answers says whether a bed runs in dir.
func answers(ctx context.Context, dir string) bool {
	return call(ctx, dir, []string{"ping"}, io.Discard) == nil
}

// call has the bed in dir run the command, and prints its answer.
func call(ctx context.Context, dir string, args []string, out io.Writer) error {
	socket, err := os.ReadFile(filepath.Join(dir, socketFile))
	if err != nil {
		return fmt.Errorf("no test bed runs in %s: %w", dir, err)
	}
	client := http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			var dialer net.Dialer
			return dialer.DialContext(ctx, "unix", string(socket))
		},
	}}
	content, err := json.Marshal(args)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://bed/", bytes.NewReader(content))
	if err != nil {
		return err
	}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("no test bed answers in %s: %w", dir, err)
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s", answer)
	}
	_, err = out.Write(answer)
	return err
}
