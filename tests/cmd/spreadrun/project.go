package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// project is spread.yaml as `rockcraft test` reads it.
type project struct {
	Project, Prepare, Restore string
	Backends                  map[string]map[string]any
	Exclude                   []string
	KillTimeout               time.Duration     `yaml:"kill-timeout"`
	Suites                    map[string]*suite // names end in /

	path string // absolute path of the directory
}

type suite struct {
	Summary, Prepare, Restore string
	Environment               environment

	tasks []*task
}

type task struct {
	Summary, Prepare, Execute, Restore string
	Environment                        environment

	name string // path of its directory, relative to the project
}

// environment holds shell assignments in the order of the file. As in spread, a value may
// refer to the variables before it.
type environment string

var variableName = regexp.MustCompile(`^[a-zA-Z_]\w*$`)

// UnmarshalYAML implements yaml.Unmarshaler.
func (e *environment) UnmarshalYAML(node *yaml.Node) error {
	for i := 0; i < len(node.Content)-1; i += 2 {
		name, value := node.Content[i].Value, node.Content[i+1]
		if !variableName.MatchString(name) || value.Tag != "!!str" || strings.HasPrefix(value.Value, "'") {
			return fmt.Errorf("line %d: %s: expected a name without a variant, and a string that does not start with a quote", value.Line, name)
		}
		*e += environment(fmt.Sprintf("export %s=\"%s\"\n", name, value.Value))
	}
	return nil
}

// readProject reads spread.yaml in dir and the selected tasks. selected has names of tasks and
// suites; empty selects all tasks.
func readProject(dir string, selected []string) (p *project, err error) {
	p = &project{KillTimeout: 15 * time.Minute} // spread's default
	if p.path, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	if err := readYAML(filepath.Join(p.path, "spread.yaml"), p); err != nil {
		return nil, err
	}
	unknown := slices.Clone(selected)
	for name, s := range p.Suites {
		files, err := filepath.Glob(filepath.Join(p.path, name, "*", "task.yaml")) // sorted
		if err != nil || len(files) == 0 || s.Summary == "" || !strings.HasSuffix(name, "/") {
			return nil, fmt.Errorf("suite %s: expected a name that ends in /, a summary and tasks", name)
		}
		for _, file := range files {
			t := &task{name: name + filepath.Base(filepath.Dir(file))}
			if err := readYAML(file, t); err != nil {
				return nil, err
			}
			if t.Summary == "" || t.Execute == "" {
				return nil, fmt.Errorf("task %s: expected summary and execute", t.name)
			}
			isNamed := func(n string) bool { return n == name || n == t.name }
			if len(selected) == 0 || slices.ContainsFunc(selected, isNamed) {
				s.tasks = append(s.tasks, t)
			}
			unknown = slices.DeleteFunc(unknown, isNamed)
		}
		if len(s.tasks) == 0 {
			delete(p.Suites, name)
		}
	}
	if len(unknown) > 0 || len(p.Suites) == 0 {
		return nil, fmt.Errorf("no task or suite is named %q", unknown)
	}
	return p, nil
}

// readYAML reads a file. It rejects unknown keys, so that nothing in the file is ignored.
func readYAML(path string, into any) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(into); err != nil {
		return fmt.Errorf("cannot read %s: %w", path, err)
	}
	return nil
}
