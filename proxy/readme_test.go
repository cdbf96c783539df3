package main

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// TestReadme checks that the README contains the output of --help, and every reason.
func TestReadme(t *testing.T) {
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	var help strings.Builder
	if err := run(t.Context(), []string{"--help"}, nil, &help, &help); err != nil {
		t.Fatal(err)
	}
	if block := "<!-- metrics-proxy --help -->\n```\n" + help.String() + "```\n"; !strings.Contains(string(readme), block) {
		t.Errorf("the README does not contain the output of --help:\n%s", block)
	}
	for _, reason := range target.Reasons() {
		if row := fmt.Sprintf("\n| `%s` |", reason); reason != target.OK && !strings.Contains(string(readme), row) {
			t.Errorf("the README does not explain reason %s", reason)
		}
	}
}

// TestSecurityPage checks that every test named in docs/security.md exists, and every row of the
// hostile suite.
func TestSecurityPage(t *testing.T) {
	page, err := os.ReadFile("../docs/security.md")
	if err != nil {
		t.Fatal(err)
	}
	var tests strings.Builder
	for _, root := range []string{".", "../tests/suites/hostile"} {
		if err := filepath.WalkDir(root, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, "_test.go") {
				return err
			}
			content, err := os.ReadFile(path)
			tests.Write(content)
			return err
		}); err != nil {
			t.Fatal(err)
		}
	}
	names := regexp.MustCompile("`((?:Test|Fuzz)[A-Za-z]+)(?:/([a-z0-9-]+))?`").FindAllStringSubmatch(string(page), -1)
	if len(names) < 40 {
		t.Errorf("found the names of %d tests, want at least 40", len(names))
	}
	for _, name := range names {
		if !strings.Contains(tests.String(), "func "+name[1]+"(") {
			t.Errorf("there is no test %s", name[1])
		}
		if row := fmt.Sprintf("{name: %q", name[2]); name[2] != "" && !strings.Contains(tests.String(), row) {
			t.Errorf("there is no row %s", name[2])
		}
	}
}
