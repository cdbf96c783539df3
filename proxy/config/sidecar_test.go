package config

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// TestSidecarTable reads the cases that the charm's Python package is also tested with. The
// Python package must reject what this package rejects, by the same rules.
func TestSidecarTable(t *testing.T) {
	content, err := os.ReadFile("../../charm/metrics_proxy_sidecar/tests/validation.json")
	if err != nil {
		t.Fatal(err)
	}
	var table struct {
		Rules map[string]string
		Cases []struct {
			Set     map[string]string
			Refused []string
		}
	}
	if err := json.Unmarshal(content, &table); err != nil {
		t.Fatal(err)
	}
	for _, s := range allSettings() {
		if want, ok := table.Rules[s.variable]; ok && want != s.rule {
			t.Errorf("%s: the rule is %q in the table, %q in the program", s.variable, want, s.rule)
		}
		delete(table.Rules, s.variable)
	}
	if len(table.Rules) > 0 {
		t.Errorf("rules of no variable: %v", table.Rules)
	}
	if len(table.Cases) < 100 {
		t.Errorf("%d cases", len(table.Cases))
	}
	for _, test := range table.Cases {
		t.Run(fmt.Sprint(test.Set), func(t *testing.T) {
			_, _, err := Load(environment(test.Set))
			var refused []string
			for line := range strings.Lines(fmt.Sprint(err)) {
				if variable, _, ok := strings.Cut(line, " is "); ok {
					refused = append(refused, variable)
				}
			}
			if want := test.Refused; !slices.Equal(refused, want) && len(refused)+len(want) > 0 {
				t.Errorf("refused are %q, want %q; error %v", refused, want, err)
			}
		})
	}
}
