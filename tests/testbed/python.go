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

// Python runs python with the arguments in the directory charm, with the charm's packages,
// and returns its standard output. It installs the packages if they are missing. It needs uv,
// in PATH or as the path UV.
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
