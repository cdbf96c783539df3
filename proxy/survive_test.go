package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"
)

// startServe starts the program in a process of its own, with stderr as its stderr. It returns
// the URL of its PORT once it is healthy, and the process.
func startServe(t *testing.T, stderr *os.File, environ ...string) (string, *exec.Cmd) {
	t.Helper()
	port := freePort(t)
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	cmd := exec.CommandContext(ctx, os.Args[0], "serve")
	cmd.Env = append([]string{"BE_METRICS_PROXY=1", "POD_LABEL_SELECTOR=app=web", "KUBECONFIG=" + kubeconfig(t, newAPI(t, nil)), "PORT=" + port, "METRICS_HTTP_PORT=0"}, environ...)
	cmd.Stderr = stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	address := "http://127.0.0.1:" + port
	fetch(t, address+"/-/ready")
	return address, cmd
}

// wantExit checks that the program exits with code 0 after SIGTERM.
func wantExit(t *testing.T, cmd *exec.Cmd) {
	t.Helper()
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Error(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("the program ended with %v", err)
	}
}

// TestSurvivesSignals checks that the program goes on after SIGHUP, and when it writes to a
// stderr that nobody reads any more.
func TestSurvivesSignals(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	address, cmd := startServe(t, w, "LOG_LEVEL=debug")
	_ = w.Close()
	if err := cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Error(err)
	}
	_ = r.Close()
	for range 5 {
		fetch(t, address+"/metrics") // logs a line
		fetch(t, address+"/-/healthy")
		time.Sleep(10 * time.Millisecond) // for a signal to arrive
	}
	wantExit(t, cmd)
}

// TestFullStderr checks that scrapes are served while the pipe that is the program's stderr is
// full, and that the program ends.
func TestFullStderr(t *testing.T) {
	r, w, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = r.Close() }()
	address, cmd := startServe(t, w, "LOG_LEVEL=debug")
	_ = w.Close()
	client := &http.Client{Timeout: 30 * time.Second}
	for range 3500 { // each logs a line of more than 100 bytes
		resp, err := client.Get(address + "/metrics")
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
	}
	lines, dropped := 0, false
	go func() {
		time.Sleep(50 * time.Millisecond)
		_ = cmd.Process.Signal(syscall.SIGTERM)
	}()
	for scanner := bufio.NewScanner(r); scanner.Scan(); lines++ {
		dropped = dropped || strings.Contains(scanner.Text(), "log lines dropped")
	}
	if err := cmd.Wait(); err != nil || lines < 1000 || !dropped {
		t.Errorf("got %v, %d lines, and dropped lines reported: %t", err, lines, dropped)
	}
}

// TestLastErrorIsWritten checks that the error that ends the program is written, and what was
// logged before it.
func TestLastErrorIsWritten(t *testing.T) {
	taken, _ := listenAnywhere(t)
	cmd := exec.CommandContext(t.Context(), os.Args[0], "serve")
	cmd.Env = []string{"BE_METRICS_PROXY=1", "POD_LABEL_SELECTOR=app=web", "KUBECONFIG=" + kubeconfig(t, "http://127.0.0.1:1"), "PORT=" + taken, "MEMORY_LIMIT=200MiB"}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	err := cmd.Run()
	logged, message, ok := strings.Cut(stderr.String(), "metrics-proxy: PORT is "+taken)
	if cmd.ProcessState.ExitCode() != 1 || !ok || !strings.Contains(logged, "memory limit set") || strings.Count(message, "\n") != 1 {
		t.Errorf("got %v, stderr %q", err, stderr.String())
	}
}

// TestFewFiles checks that the program responds to probes and scrapes, and logs why it accepts
// few connections, if it may open only 64 files, has more targets than that, and clients open many connections.
func TestFewFiles(t *testing.T) {
	pods := map[string]string{}
	for i := range 80 {
		pods[fmt.Sprint("web-", i)] = newTarget(t, closed(), func() {})
	}
	port, ownPort := freePort(t), freePort(t)
	cmd := exec.CommandContext(t.Context(), "sh", "-c", `ulimit -n 64 && exec "$0" serve`, os.Args[0])
	cmd.Env = []string{"BE_METRICS_PROXY=1", "POD_LABEL_SELECTOR=app=web", "ALLOW_RESERVED_TARGETS=true", "KUBECONFIG=" + kubeconfig(t, newAPI(t, pods)), "PORT=" + port, "METRICS_HTTP_PORT=" + ownPort}
	var stderr strings.Builder
	cmd.Stderr = &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	fetch(t, "http://127.0.0.1:"+port+"/-/ready")
	var conns []net.Conn
	for i := range 400 {
		to := port
		if i%2 == 0 {
			to = ownPort
		}
		conn, err := new(net.Dialer).DialContext(t.Context(), "tcp", "127.0.0.1:"+to)
		if err != nil {
			t.Fatal(err)
		}
		conns = append(conns, conn)
	}
	client := &http.Client{Timeout: 10 * time.Second}
	for range 10 {
		for url, want := range map[string]string{
			"http://127.0.0.1:" + port + "/-/healthy": "healthy", "http://127.0.0.1:" + port + "/-/ready": "80 targets",
			"http://127.0.0.1:" + port + "/metrics": `up{k8s_pod_name="web-9",k8s_namespace="ns"} 1`, "http://127.0.0.1:" + ownPort + "/metrics": `metrics_proxy_connections_closed_total{reason="idle"}`,
		} {
			resp, err := client.Get(url)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(resp.Body)
			_ = resp.Body.Close()
			if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), want) || strings.Contains(string(body), "} 0\nup{") {
				t.Errorf("%s: got %s, %v, %.100q", url, resp.Status, err, body)
			}
		}
	}
	for _, conn := range conns { // otherwise net/http waits 5 s for their requests
		_ = conn.Close()
	}
	wantExit(t, cmd)
	for _, want := range []string{"fewer connections are accepted", "open_files=64", "idle connections are closed"} {
		if !strings.Contains(stderr.String(), want) {
			t.Errorf("logged\n%s\nwant it to contain %q", stderr.String(), want)
		}
	}
}
