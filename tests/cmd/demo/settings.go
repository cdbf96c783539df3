package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// settings are read from environment variables.
type settings struct {
	duration   time.Duration // 0 means until Ctrl-C
	kubeconfig string        // path of the file to write; empty means none

	userCluster bool              // KUBECONFIG is set
	proxyEnv    map[string]string // environment of the proxy, if userCluster
}

func readSettings(environ []string) (settings, error) {
	env := map[string]string{}
	for _, variable := range environ {
		name, value, _ := strings.Cut(variable, "=")
		env[name] = value
	}
	var s settings
	if value := env["DEMO_SECONDS"]; value != "" {
		seconds, err := strconv.Atoi(value)
		if err != nil || seconds < 1 || seconds > 86400 {
			return s, fmt.Errorf("DEMO_SECONDS is %q: expected a whole number of seconds, from 1 to 86400", value)
		}
		s.duration = time.Duration(seconds) * time.Second
	}
	if s.kubeconfig = env["DEMO_KUBECONFIG"]; env["KUBECONFIG"] == "" {
		return s, nil
	}
	if s.kubeconfig != "" {
		return s, errors.New("DEMO_KUBECONFIG and KUBECONFIG are both set: expected at most one, because with KUBECONFIG the demo creates no cluster")
	}
	if env["POD_LABEL_SELECTOR"] == "" {
		return s, errors.New("POD_LABEL_SELECTOR is not set: expected the label selector of the pods to scrape, such as app=web, because KUBECONFIG is set")
	}
	paths := filepath.SplitList(env["KUBECONFIG"])
	for i, path := range paths { // the proxy runs in another directory
		absolute, err := filepath.Abs(path)
		if err != nil {
			return s, fmt.Errorf("KUBECONFIG is %q: cannot resolve it: %w", env["KUBECONFIG"], err)
		}
		paths[i] = absolute
	}
	env["KUBECONFIG"] = strings.Join(paths, string(filepath.ListSeparator))
	delete(env, "TARGET_LABELS") // the demo expects the default labels
	if env["ALLOW_RESERVED_TARGETS"] == "" {
		env["ALLOW_RESERVED_TARGETS"] = "false" // the default of the test bed is for its own pods
	}
	s.userCluster, s.proxyEnv = true, env
	return s, nil
}
