package main

import (
	"fmt"
	"os"
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
