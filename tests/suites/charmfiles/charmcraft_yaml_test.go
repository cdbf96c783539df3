package charmfiles

import (
	"maps"
	"os"
	"slices"
	"strings"

	"sigs.k8s.io/yaml"
)

const charmDir = "../../../charm"

// charmcraft holds the parts of charm/charmcraft.yaml that other files must agree with.
type charmcraft struct {
	Name  string            `json:"name"`
	Base  string            `json:"base"`
	Links map[string]string `json:"links"`
	Parts map[string]struct {
		Stage []string `json:"stage"`
	} `json:"parts"`
	Containers map[string]struct {
		Resource string `json:"resource"`
		UID      int    `json:"uid"`
		GID      int    `json:"gid"`
	} `json:"containers"`
	Resources map[string]struct {
		Upstream string `json:"upstream-source"`
	} `json:"resources"`
	Provides map[string]endpoint `json:"provides"`
	Requires map[string]endpoint `json:"requires"`
	Config   struct {
		Options map[string]struct {
			Type    string `json:"type"`
			Default any    `json:"default"`
		} `json:"options"`
	} `json:"config"`
	Actions map[string]any `json:"actions"`
}

type endpoint struct {
	Interface string `json:"interface"`
}

func readCharmcraft() (c charmcraft, err error) {
	return c, readYAML(charmDir+"/charmcraft.yaml", &c)
}

func readYAML(path string, into any) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	return yaml.Unmarshal(content, into)
}

// cutDot splits at the first dot.
func cutDot(s string) (before, after string, found bool) { return strings.Cut(s, ".") }

func sortedKeys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
