package charmfiles

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

// TestCharmcraftAcceptsCharm checks that charmcraft accepts charmcraft.yaml, and rejects it
// with a mistake.
func TestCharmcraftAcceptsCharm(t *testing.T) {
	program := installedCharmcraft(t)
	content := readDoc(t, "charmcraft.yaml")
	expanded, err := expandExtensions(t, program, content)
	must(t, err)
	var got charmcraft
	must(t, yaml.Unmarshal([]byte(expanded), &got))
	want := mustCharmcraft(t)
	if got.Name != want.Name || !slices.Equal(sortedKeys(got.Config.Options), sortedKeys(want.Config.Options)) {
		t.Errorf("charmcraft expands charmcraft.yaml to\n%s", expanded)
	}
	for _, mistake := range [][2]string{
		{"base: ubuntu@24.04\n", "base: ubuntu@24.05\n"},
		{"charm-user: non-root\n", "charm-user: nobody\n"},
		{"  amd64:\n", "  amd46:\n"},
		{"containers:\n", "contains:\n"},
	} {
		broken := strings.Replace(content, mistake[0], mistake[1], 1)
		if broken == content {
			t.Fatalf("charmcraft.yaml has no line %q", mistake[0])
		}
		if _, err := expandExtensions(t, program, broken); err == nil {
			t.Errorf("charmcraft accepts %q", mistake[1])
		}
	}
}

func TestCharmcraftAcceptsExample(t *testing.T) {
	content := readDoc(t, "metrics_proxy_sidecar/example/charmcraft.yaml")
	if expanded, err := expandExtensions(t, installedCharmcraft(t), content); err != nil || !strings.Contains(expanded, "gateway-k8s") {
		t.Errorf("%v\n%s", err, expanded)
	}
}

// TestCharmcraftAcceptsSpread checks that `charmcraft test` can read spread.yaml.
func TestCharmcraftAcceptsSpread(t *testing.T) {
	python := filepath.Join(filepath.Dir(installedCharmcraft(t)), "python")
	const read = `
import sys, yaml
from craft_application.models import CraftSpreadYaml
print(*CraftSpreadYaml.unmarshal(yaml.safe_load(sys.stdin)).suites)`
	run := func(content string) (string, error) {
		cmd := exec.CommandContext(t.Context(), python, "-c", read)
		cmd.Stdin = strings.NewReader(content)
		out, err := cmd.CombinedOutput()
		return strings.TrimSpace(string(out)), err
	}
	content := readDoc(t, "spread.yaml")
	suites, err := run(content)
	if err != nil {
		t.Fatal(suites)
	}
	if tasks, _ := filepath.Glob(filepath.Join(charmDir, suites, "*", "task.yaml")); len(tasks) == 0 {
		t.Errorf("suite %s has no tasks", suites)
	}
	if out, err := run(content + "path: /root\n"); err == nil {
		t.Errorf("charmcraft accepts an unknown key: %s", out)
	}
}

// installedCharmcraft returns the path of charmcraft, which it installs if necessary. If that
// fails, it skips the test.
func installedCharmcraft(t *testing.T) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "../../modules/tools/charmcraft/install")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	path, err := cmd.Output()
	if err != nil {
		t.Skipf("charmcraft cannot be installed (%v):\n%s", err, stderr.String())
	}
	return strings.TrimSpace(string(path))
}

func expandExtensions(t *testing.T, program, content string) (string, error) {
	t.Helper()
	dir, home := t.TempDir(), t.TempDir()
	must(t, os.Chmod(home, 0o700))
	must(t, os.WriteFile(filepath.Join(dir, "charmcraft.yaml"), []byte(content), 0o600))
	cmd := exec.CommandContext(t.Context(), program, "expand-extensions")
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), "HOME="+home, "XDG_RUNTIME_DIR="+home)
	out, err := cmd.Output()
	return string(out), err
}
