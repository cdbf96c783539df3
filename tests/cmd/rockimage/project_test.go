package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"
)

func TestProject(t *testing.T) {
	p, err := readProject("../../../rockcraft.yaml")
	if err != nil {
		t.Fatal(err)
	}
	layer, err := p.layer()
	if err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Services map[string]struct {
			Command     string            `json:"command"`
			Environment map[string]string `json:"environment"`
		} `json:"services"`
		Checks map[string]struct {
			Level string `json:"level"`
		} `json:"checks"`
	}
	if err := yaml.Unmarshal(layer, &parsed); err != nil {
		t.Fatal(err)
	}
	if s := parsed.Services["metrics-proxy"]; s.Command != "metrics-proxy" || len(s.Environment) > 0 {
		t.Errorf("the service is %+v, want the command metrics-proxy, and no environment, because it would override the container's", s)
	}
	if c, ok := parsed.Checks["metrics-proxy"]; !ok || c.Level != "" {
		t.Errorf("the check is %+v (exists: %t), want no level", c, ok)
	}
}

// TestInvalidProject checks that unsupported keys and values are rejected, not ignored.
func TestInvalidProject(t *testing.T) {
	good, err := os.ReadFile("../../../rockcraft.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string][2]string{
		"unknown key":     {"license:", "hooks: {}\nlicense:"},
		"unknown in part": {"    plugin: go", "    plugin: go\n    override-stage: true"},
		"another base":    {"base: bare", "base: ubuntu@24.04"},
		"another user":    {"run-user: _daemon_", "run-user: root"},
	} {
		path := filepath.Join(t.TempDir(), "rockcraft.yaml")
		changed := strings.Replace(string(good), change[0], change[1], 1)
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readProject(path); err == nil || changed == string(good) {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestInvalidParts(t *testing.T) {
	p := project{Parts: map[string]part{"x": {StagePackages: []string{"bash_bins"}}}}
	if err := p.build(t.Context(), ".", t.TempDir()); err == nil || !strings.Contains(err.Error(), "bash_bins") {
		t.Errorf("unknown slice: error %v", err)
	}
	p.Parts["x"] = part{OverrideBuild: "exit 3"}
	if err := p.build(t.Context(), ".", t.TempDir()); err == nil || !strings.Contains(err.Error(), "part x") {
		t.Errorf("failing script: error %v", err)
	}
}

// TestTar checks that the layer depends only on the files, not on their owners and times.
func TestTar(t *testing.T) {
	var first []byte
	for range 2 {
		root := t.TempDir()
		for _, name := range []string{"b/x", "a", "tmp/x", "var/lib/pebble/default/layers/1"} {
			if err := writeFile(filepath.Join(root, name), []byte(name)); err != nil {
				t.Fatal(err)
			}
		}
		var layer bytes.Buffer
		if err := writeTar(&layer, root); err != nil {
			t.Fatal(err)
		}
		if first != nil && !bytes.Equal(first, layer.Bytes()) {
			t.Error("layers of the same files differ")
		}
		first = layer.Bytes()
	}
}
