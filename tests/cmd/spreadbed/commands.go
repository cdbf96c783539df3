package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// run returns what the command answers.
func (s *server) run(ctx context.Context, command string, args []string) (string, error) {
	commands := map[string]struct {
		least int // arguments
		do    func(context.Context, []string) (string, error)
	}{
		"ping":     {0, func(context.Context, []string) (string, error) { return "", nil }},
		"stop":     {0, s.stop},
		"port":     {0, s.port},
		"pod":      {1, s.pod},
		"annotate": {2, s.annotate},
		"delete":   {1, s.remove},
		"clear":    {1, s.clear},
		"user":     {1, s.user},
		"allow":    {2, s.allow},
	}
	c, ok := commands[command]
	if !ok {
		return "", fmt.Errorf("no command %q: want one of %s", command, strings.Join(slices.Sorted(maps.Keys(commands)), ", "))
	}
	if len(args) < c.least {
		return "", fmt.Errorf("%s has %d arguments: want %d at least", command, len(args), c.least)
	}
	return c.do(ctx, args)
}

func (s *server) stop(context.Context, []string) (string, error) {
	for _, p := range s.pods {
		p.end()
	}
	err := s.bed.Stop()
	s.end()
	return "", err
}

func (s *server) port(context.Context, []string) (string, error) {
	port, err := testbed.FreePort()
	return strconv.Itoa(port) + "\n", err
}

func (s *server) pod(ctx context.Context, args []string) (string, error) {
	p, err := parsePod(args)
	if err != nil {
		return "", err
	}
	if _, ok := s.pods[p.key()]; ok {
		return "", fmt.Errorf("pod %s is there already", p.key())
	}
	s.count++
	host := testbed.Address(s.count)
	port, err := p.start(ctx, s.bed, host)
	if err != nil {
		return "", err
	}
	if err := s.cluster.CreatePods(ctx, testbed.Pod{
		Namespace: p.namespace, Name: p.name, Labels: p.labels, IPs: []string{host},
		Annotations: testbed.ScrapeAnnotations(port, ""),
	}); err != nil {
		p.end()
		return "", err
	}
	s.pods[p.key()] = p
	return net.JoinHostPort(host, strconv.Itoa(port)) + "\n", nil
}

func (s *server) annotate(ctx context.Context, args []string) (string, error) {
	p, ok := s.pods[args[0]]
	if !ok {
		return "", fmt.Errorf("no pod %s was made here", args[0])
	}
	known, err := s.cluster.Client.CoreV1().Pods(p.namespace).Get(ctx, p.name, metav1.GetOptions{})
	if err != nil {
		return "", err
	}
	for _, change := range args[1:] {
		key, value, ok := strings.Cut(change, "=")
		if !ok {
			return "", fmt.Errorf("%q is no annotation: want KEY=VALUE", change)
		}
		known.Annotations[key] = value
	}
	return "", s.cluster.SetPodAnnotations(ctx, p.namespace, p.name, known.Annotations)
}

// remove leaves the pod's exporter: that the pod is gone must be known from the API server.
func (s *server) remove(ctx context.Context, args []string) (string, error) {
	p, ok := s.pods[args[0]]
	if !ok || p.gone {
		return "", fmt.Errorf("no pod %s was made here", args[0])
	}
	if err := s.cluster.DeletePod(ctx, p.namespace, p.name); err != nil {
		return "", err
	}
	p.gone = true
	s.pods[args[0]] = p
	return "", nil
}

func (s *server) clear(ctx context.Context, args []string) (string, error) {
	var errs []error
	for _, key := range slices.Sorted(maps.Keys(s.pods)) {
		p := s.pods[key]
		if p.namespace != args[0] {
			continue
		}
		if !p.gone {
			errs = append(errs, s.cluster.DeletePod(ctx, p.namespace, p.name))
		}
		p.end()
		delete(s.pods, key)
	}
	return "", errors.Join(errs...)
}

// user makes the user's kubeconfig one that every user of this machine may read: the
// program in the image runs as another one.
func (s *server) user(ctx context.Context, args []string) (string, error) {
	var grants []testbed.Grant
	if verbs := args[1:]; len(verbs) > 0 {
		grants = append(grants, testbed.Grant{Rules: testbed.PodRules(verbs...)})
	}
	user, err := s.cluster.NewUser(ctx, args[0], grants...)
	if err != nil {
		return "", err
	}
	private, err := s.cluster.Kubeconfig(user, "")
	if err != nil {
		return "", err
	}
	content, err := os.ReadFile(private)
	if err != nil {
		return "", err
	}
	path := filepath.Join(s.dir, args[0]+".kubeconfig")
	return path + "\n", os.WriteFile(path, content, 0o644) //nolint:gosec // of a cluster for tests
}

func (s *server) allow(ctx context.Context, args []string) (string, error) {
	return "", s.cluster.Allow(ctx, args[0], testbed.Grant{Rules: testbed.PodRules(args[1:]...)})
}
