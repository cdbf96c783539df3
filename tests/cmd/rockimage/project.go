package main

import (
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

// project is rockcraft.yaml. Other keys are rejected, because they would be missing in the
// image.
type project struct {
	Name        string                    `json:"name"`
	Title       string                    `json:"title"`
	Summary     string                    `json:"summary"`
	Description string                    `json:"description"`
	Version     string                    `json:"version"`
	License     string                    `json:"license"`
	Base        string                    `json:"base"`
	BuildBase   string                    `json:"build-base"`
	RunUser     string                    `json:"run-user"`
	Platforms   map[string]any            `json:"platforms"`
	Environment map[string]string         `json:"environment"`
	Services    map[string]map[string]any `json:"services"`
	Checks      map[string]map[string]any `json:"checks"`
	Parts       map[string]part           `json:"parts"`
}

type part struct {
	Plugin           string              `json:"plugin"`
	Source           string              `json:"source"`
	After            []string            `json:"after"`
	BuildSnaps       []string            `json:"build-snaps"` // ignored: the Go of this machine is used
	BuildEnvironment []map[string]string `json:"build-environment"`
	OverrideBuild    string              `json:"override-build"`
	OverridePrime    string              `json:"override-prime"`
	Stage            []string            `json:"stage"`
	StagePackages    []string            `json:"stage-packages"`
}

// readProject reads rockcraft.yaml. It rejects what rockimage does not support.
func readProject(path string) (p project, err error) {
	content, err := os.ReadFile(path)
	if err == nil {
		err = yaml.UnmarshalStrict(content, &p)
	}
	switch {
	case err != nil:
	case p.Base != "bare":
		err = fmt.Errorf("base is %q: expected bare", p.Base)
	case p.RunUser != "_daemon_":
		err = fmt.Errorf("run-user is %q: expected _daemon_", p.RunUser)
	}
	if err != nil {
		return p, fmt.Errorf("cannot read %s: %w", path, err)
	}
	return p, nil
}

// layer returns the Pebble layer that rockcraft generates from the services and checks.
func (p project) layer() ([]byte, error) {
	return yaml.Marshal(map[string]any{
		"summary": p.Summary, "description": p.Description, "services": p.Services, "checks": p.Checks,
	})
}
