package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"syscall"
	"time"
)

// A job is what a script runs with.
type job struct {
	name        string // BACKEND:SYSTEM:TASK
	dir         string
	environment environment
}

func (j job) where() string { return j.name[:strings.LastIndex(j.name, ":")] }

// skipError is what a script says that called SKIP.
type skipError struct{ reason string }

func (e skipError) Error() string { return "cannot be skipped: " + e.reason }

// prelude are the functions that spread gives to scripts, and SKIP.
const prelude = `
ERROR() { { set +xu; } 2>/dev/null; echo "<ERROR $*>"; exit 213; }
SKIP() { { set +xu; } 2>/dev/null; echo "<SKIP $*>"; exit 213; }
REBOOT() { ERROR "this machine is not rebooted"; }
MATCH() { { set +xu; } 2>/dev/null; local stdin; stdin=$(cat); grep -q -e "$@" <<<"$stdin" || { printf 'error: pattern not found, got:\n%s\n' "$stdin" >&2; return 1; }; }
NOMATCH() { { set +xu; } 2>/dev/null; local stdin; stdin=$(cat); if grep -q -e "$@" <<<"$stdin"; then printf 'error: pattern found, got:\n%s\n' "$stdin" >&2; return 1; fi; }
`

// shell is the whole script. Values stand in double quotes as in spread, so that they may
// use other variables.
func (j job) shell(script string) string {
	var b strings.Builder
	b.WriteString(prelude)
	for _, v := range j.environment {
		value := v.value
		if value == "" || value[0] != '"' && value[0] != '\'' {
			value = `"` + value + `"`
		}
		fmt.Fprintf(&b, "export %s=%s\n", v.name, value)
	}
	fmt.Fprintf(&b, "set -x\n(\n%s\n) < /dev/null\n", strings.TrimSpace(script))
	return b.String()
}

var lastWord = regexp.MustCompile(`^<(ERROR|SKIP) (.*)>$`)

// run returns what the script printed, with a trace of its commands. The script is killed
// after timeout or when ctx ends, with all that it started and did not detach.
func (j job) run(ctx context.Context, script string, timeout time.Duration) (string, error) {
	// A file and no pipe: what goes on in the background must not be waited for.
	log, err := os.CreateTemp("", "spreadrun-")
	if err != nil {
		return "", err
	}
	defer func() { _, _ = log.Close(), os.Remove(log.Name()) }()
	interrupted := ctx
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-eu", "-")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(j.shell(script)), log, log
	cmd.Dir = j.dir
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // Ctrl-C is for the runner, which restores
	cmd.Cancel = func() error { return syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) }
	cmd.WaitDelay = 10 * time.Second
	runErr := cmd.Run()
	content, err := os.ReadFile(log.Name())
	if err != nil {
		return "", err
	}
	output := strings.TrimSpace(string(content))
	last := lastWord.FindStringSubmatch(output[strings.LastIndex(output, "\n")+1:])
	switch {
	case runErr == nil:
		return output, nil
	case interrupted.Err() != nil:
		return output, errors.New("interrupted")
	case ctx.Err() != nil:
		return output, fmt.Errorf("kill-timeout of %s reached", timeout)
	case cmd.ProcessState.ExitCode() != 213 || last == nil:
		return output, runErr
	case last[1] == "SKIP":
		return output, skipError{last[2]}
	default:
		return output, errors.New(last[2])
	}
}

// systemName names this machine as spread names systems: ubuntu-24.04.
func systemName() string {
	content, err := os.ReadFile("/etc/os-release")
	values := map[string]string{}
	for line := range strings.Lines(string(content)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		values[name] = strings.Trim(value, `"'`)
	}
	if err != nil || values["ID"] == "" {
		return "unknown"
	}
	return strings.TrimSuffix(values["ID"]+"-"+values["VERSION_ID"], "-")
}
