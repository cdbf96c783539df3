package main

import (
	"errors"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// settings are what the environment says.
type settings struct {
	duration   time.Duration // 0 means until Ctrl-C
	kubeconfig string        // a file to write; empty means none

	userCluster bool              // KUBECONFIG is set
	proxyEnv    map[string]string // for the proxy, with the user's cluster
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
			return s, fmt.Errorf("DEMO_SECONDS is %q, it must be a whole number of seconds from 1 to 86400", value)
		}
		s.duration = time.Duration(seconds) * time.Second
	}
	if s.kubeconfig = env["DEMO_KUBECONFIG"]; env["KUBECONFIG"] == "" {
		return s, nil
	}
	if s.kubeconfig != "" {
		return s, errors.New("DEMO_KUBECONFIG is set beside KUBECONFIG: expected one of them, because the demo then makes no cluster")
	}
	if env["POD_LABEL_SELECTOR"] == "" {
		return s, errors.New("POD_LABEL_SELECTOR is missing: with KUBECONFIG it must select the pods to show, for example app=web")
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
	delete(env, "TARGET_LABELS") // the demo reads the default ones
	if env["ALLOW_RESERVED_TARGETS"] == "" {
		env["ALLOW_RESERVED_TARGETS"] = "false" // the bed's default is for its own pods
	}
	s.userCluster, s.proxyEnv = true, env
	return s, nil
}
