package testbed

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// A component is a third-party program that the bed runs. Its version and dependencies are
// pinned in tests/modules/components/SOURCE/go.mod.
type component struct {
	name     string
	source   string // directory of its module; empty means name
	module   string // the Go module that contains it
	pkg      string // main package
	tags     string // build tags
	duration string // of the first build on 2 cores, for the progress message

	onPath     []string // names to look up in PATH
	minVersion string   // minimum version of a program found in PATH; empty means any
}

func components() []component {
	return []component{{
		name: "etcd", module: "go.etcd.io/etcd/server/v3", pkg: "go.etcd.io/etcd/server/v3",
		duration: "about 20 seconds",
		// The API server's watch cache needs RequestWatchProgress.
		onPath: []string{"etcd"}, minVersion: "3.5.8",
	}, {
		name: "kube-apiserver", module: "k8s.io/kubernetes", pkg: "k8s.io/kubernetes/cmd/kube-apiserver",
		duration: "about 3 minutes",
		onPath:   []string{"kube-apiserver"}, minVersion: "1.30.0",
	}, {
		name: "prometheus", module: "github.com/prometheus/prometheus",
		pkg: "github.com/prometheus/prometheus/cmd/prometheus", tags: "netgo,remove_all_sd",
		duration: "about 70 seconds",
		onPath:   []string{"prometheus"}, minVersion: "3.0.0",
	}, {
		name: "promtool", source: "prometheus", module: "github.com/prometheus/prometheus",
		pkg: "github.com/prometheus/prometheus/cmd/promtool", tags: "netgo,remove_all_sd",
		duration: "about 90 seconds",
		onPath:   []string{"promtool"}, minVersion: "3.0.0",
	}, {
		name: "node_exporter", module: "github.com/prometheus/node_exporter", pkg: "github.com/prometheus/node_exporter",
		duration: "about 15 seconds",
		onPath:   []string{"node_exporter", "prometheus-node-exporter"},
	}, {
		name: "kube-scheduler", source: "kube-apiserver", module: "k8s.io/kubernetes", pkg: "k8s.io/kubernetes/cmd/kube-scheduler",
		duration: "about 30 seconds",
		onPath:   []string{"kube-scheduler"}, minVersion: "1.30.0",
	}, {
		name: "kube-controller-manager", source: "kube-apiserver", module: "k8s.io/kubernetes", pkg: "k8s.io/kubernetes/cmd/kube-controller-manager",
		duration: "about a minute",
		onPath:   []string{"kube-controller-manager"}, minVersion: "1.30.0",
	}, {
		// Not looked up in PATH, because the version of the embedded kustomize differs.
		name: "kubectl", module: "k8s.io/kubernetes", pkg: "k8s.io/kubernetes/cmd/kubectl",
		duration: "about 30 seconds",
	}, {
		name: "kwok", module: "sigs.k8s.io/kwok", pkg: "sigs.k8s.io/kwok/cmd/kwok",
		duration: "about a minute",
		onPath:   []string{"kwok"},
	}, {
		name: "metrics-server", module: "sigs.k8s.io/metrics-server", pkg: "sigs.k8s.io/metrics-server/cmd/metrics-server",
		duration: "about 90 seconds",
		onPath:   []string{"metrics-server"},
	}, pebble("1.32"), pebble("1.26")}
}

// pebble returns a version of Pebble. Both versions are tested, so none is looked up in PATH.
func pebble(version string) component {
	const module = "github.com/canonical/pebble"
	return component{name: "pebble-" + version, module: module, pkg: module + "/cmd/pebble", duration: "about 10 seconds"}
}

// Components returns the names of all components.
func Components() []string {
	var names []string
	for _, c := range components() {
		names = append(names, c.name)
	}
	return names
}

// Binary returns the path of a component's program. It looks in the directory
// KUBEBUILDER_ASSETS, in PATH and in the cache of earlier builds, in this order, and
// otherwise builds the component, which can take minutes. It reports a build on progress.
// name is one of Components.
func Binary(ctx context.Context, name string, progress io.Writer) (string, error) {
	all := components()
	i := slices.IndexFunc(all, func(c component) bool { return c.name == name })
	if i < 0 {
		return "", fmt.Errorf("cannot find component %q: unknown name", name)
	}
	if assets := os.Getenv("KUBEBUILDER_ASSETS"); assets != "" {
		if path, err := exec.LookPath(filepath.Join(assets, name)); err == nil {
			return path, nil
		}
	}
	if path := all[i].installed(ctx, progress); path != "" {
		return path, nil
	}
	return all[i].cachedBuild(ctx, progress)
}

// installed returns the path of the component in PATH, or "" if there is none, or only one
// that is too old.
func (c component) installed(ctx context.Context, progress io.Writer) string {
	for _, name := range c.onPath {
		path, err := exec.LookPath(name)
		if err != nil {
			continue
		}
		if c.minVersion == "" {
			return path
		}
		found := reportedVersion(ctx, path)
		if found != nil && slices.Compare(found, parseVersion(c.minVersion)) >= 0 {
			return path
		}
		fmt.Fprintf(progress, "ignoring %s: expected version %s or later\n", path, c.minVersion)
	}
	return ""
}

// reportedVersion returns the first version number that PROGRAM --version prints, or nil.
func reportedVersion(ctx context.Context, path string) []int {
	out, err := exec.CommandContext(ctx, path, "--version").CombinedOutput()
	if err != nil {
		return nil
	}
	return parseVersion(regexp.MustCompile(`\d+\.\d+\.\d+`).FindString(string(out)))
}

// parseVersion splits "3.5.8" into its numbers. It returns nil if a part is not a number.
func parseVersion(version string) []int {
	var numbers []int
	for part := range strings.SplitSeq(version, ".") {
		n, err := strconv.Atoi(part)
		if err != nil {
			return nil
		}
		numbers = append(numbers, n)
	}
	return numbers
}
