package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.yaml.in/yaml/v3"
)

// defaultKillTimeout is spread's own.
const defaultKillTimeout = 15 * time.Minute

// scripts are what each level has.
type scripts struct {
	Prepare     string   `yaml:"prepare"`
	Restore     string   `yaml:"restore"`
	PrepareEach string   `yaml:"prepare-each"`
	RestoreEach string   `yaml:"restore-each"`
	KillTimeout duration `yaml:"kill-timeout"`
}

// project is spread.yaml in the form that `rockcraft test` takes: no other keys are allowed
// at the top.
type project struct {
	Name     string             `yaml:"project"`
	Backends map[string]backend `yaml:"backends"`
	Suites   map[string]*suite  `yaml:"suites"`
	Exclude  []string           `yaml:"exclude"`
	scripts  `yaml:",inline"`

	path string // absolute, of the directory
}

// backend says where spread runs the tasks; here they run on this machine.
type backend struct {
	Type    string           `yaml:"type"`
	Systems []map[string]any `yaml:"systems"`
}

type suite struct {
	Summary     string      `yaml:"summary"`
	Systems     []string    `yaml:"systems"`
	Environment environment `yaml:"environment"`
	scripts     `yaml:",inline"`

	name  string // ends in /
	tasks []*task
}

type task struct {
	Summary     string      `yaml:"summary"`
	Details     string      `yaml:"details"`
	Systems     []string    `yaml:"systems"`
	Environment environment `yaml:"environment"`
	Prepare     string      `yaml:"prepare"`
	Execute     string      `yaml:"execute"`
	Restore     string      `yaml:"restore"`
	Debug       string      `yaml:"debug"`
	KillTimeout duration    `yaml:"kill-timeout"`

	name string // of its directory, relative to the project's
}

// environment keeps its order: a value may refer to the variables before it.
type environment []variable

type variable struct{ name, value string }

var variableName = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_]*$`)

// UnmarshalYAML implements yaml.Unmarshaler.
func (e *environment) UnmarshalYAML(node *yaml.Node) error {
	if node.Kind != yaml.MappingNode {
		return fmt.Errorf("line %d: environment must be a mapping", node.Line)
	}
	for i := 0; i < len(node.Content); i += 2 {
		key, value := node.Content[i], node.Content[i+1]
		if !variableName.MatchString(key.Value) {
			return fmt.Errorf("line %d: %q is no name of a variable; variants are not understood here", key.Line, key.Value)
		}
		if value.Kind != yaml.ScalarNode || value.Tag != "!!str" || strings.Contains(value.Value, "$(HOST:") {
			return fmt.Errorf("line %d: %s must be a string without $(HOST:...)", value.Line, key.Value)
		}
		*e = append(*e, variable{key.Value, value.Value})
	}
	return nil
}

// duration is written as 30s, 15m or 1h.
type duration time.Duration

// UnmarshalYAML implements yaml.Unmarshaler.
func (d *duration) UnmarshalYAML(node *yaml.Node) error {
	parsed, err := time.ParseDuration(node.Value)
	*d = duration(parsed)
	return err
}

// killTimeout is the first that is set, of the innermost level first.
func killTimeout(levels ...duration) time.Duration {
	for _, d := range levels {
		if d != 0 {
			return time.Duration(d)
		}
	}
	return defaultKillTimeout
}

// readProject reads spread.yaml in dir and the tasks of its suites.
func readProject(dir string) (*project, error) {
	path, err := filepath.Abs(dir)
	if err != nil {
		return nil, err
	}
	p := &project{path: path}
	if err := readYAML(filepath.Join(path, "spread.yaml"), p); err != nil {
		return nil, err
	}
	if p.Backends["craft"].Type != "craft" || len(p.Suites) == 0 {
		return nil, errors.New("cannot use spread.yaml: it needs the backend craft with type: craft, and suites")
	}
	for name, s := range p.Suites {
		if s == nil || s.Summary == "" || !strings.HasSuffix(name, "/") {
			return nil, fmt.Errorf("cannot use suite %s: its name must end in /, and it needs a summary", name)
		}
		s.name = name
		if s.tasks, err = readTasks(path, name); err != nil {
			return nil, err
		}
	}
	return p, nil
}

// readTasks reads every DIRECTORY/task.yaml of a suite, by name.
func readTasks(path, suite string) (tasks []*task, err error) {
	files, err := filepath.Glob(filepath.Join(path, suite, "*", "task.yaml"))
	if err != nil || len(files) == 0 {
		return nil, errors.Join(err, fmt.Errorf("suite %s has no tasks", suite))
	}
	for _, file := range files {
		t := &task{name: suite + filepath.Base(filepath.Dir(file))}
		if err := readYAML(file, t); err != nil {
			return nil, err
		}
		if t.Summary == "" || strings.TrimSpace(t.Execute) == "" {
			return nil, fmt.Errorf("cannot use task %s: it needs summary and execute", t.name)
		}
		tasks = append(tasks, t)
	}
	return tasks, nil
}

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

// selectTasks drops all tasks but those named, and suites without tasks. A name that ends
// in / is that of a suite. No names select everything.
func (p *project) selectTasks(names []string) error {
	if len(names) == 0 {
		return nil
	}
	used := map[string]bool{}
	for name, s := range p.Suites {
		s.tasks = slices.DeleteFunc(s.tasks, func(t *task) bool {
			for _, n := range names {
				if n == t.name || n == s.name {
					used[n] = true
					return false
				}
			}
			return true
		})
		if len(s.tasks) == 0 {
			delete(p.Suites, name)
		}
	}
	for _, n := range names {
		if !used[n] {
			return fmt.Errorf("no task or suite is named %s", n)
		}
	}
	return nil
}
