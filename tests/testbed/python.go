package testbed

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// Python runs a file of charm/tests/real, or whatever the arguments say, with the charm's
// packages, which are installed before if they are missing, and returns what it prints. It
// needs uv, on PATH or where UV says.
func Python(ctx context.Context, env map[string]string, args ...string) ([]byte, error) {
	root, err := repositoryRoot()
	if err != nil {
		return nil, fmt.Errorf("cannot run Python: %w", err)
	}
	args = append([]string{"run", "--quiet", "--frozen", "--group", "unit", "python"}, args...)
	command := exec.CommandContext(ctx, cmp.Or(os.Getenv("UV"), "uv"), args...)
	command.Dir = filepath.Join(root, "charm")
	command.Env = os.Environ()
	for name, value := range env {
		command.Env = append(command.Env, name+"="+value)
	}
	var stderr strings.Builder
	command.Stderr = &stderr
	out, err := command.Output()
	if err != nil {
		return nil, fmt.Errorf("cannot run Python (make installs uv if it is missing): %w\n%s", err, stderr.String())
	}
	return out, nil
}
