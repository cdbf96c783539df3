package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"time"
)

func main() {
	docker := flag.Bool("docker", false, "also load the image into Docker")
	flag.Parse()
	if err := run(context.Background(), *docker); err != nil {
		fmt.Fprintln(os.Stderr, "rockimage:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, docker bool) error {
	repo, err := filepath.Abs("..")
	if err != nil {
		return err
	}
	p, err := readProject(filepath.Join(repo, "rockcraft.yaml"))
	if err != nil {
		return err
	}
	for _, tool := range []string{"bash", "umoci", "skopeo"} {
		if _, err := exec.LookPath(tool); err != nil {
			return fmt.Errorf("cannot find %s: install the packages umoci, skopeo and ca-certificates", tool)
		}
	}
	dir, err := os.MkdirTemp("", "rockimage-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	image, err := p.image(ctx, repo, dir)
	if err != nil {
		return err
	}
	rock := filepath.Join(repo, "bin", fmt.Sprintf("%s_%s_%s.rock", p.Name, p.Version, runtime.GOARCH))
	if err := errors.Join(os.MkdirAll(filepath.Dir(rock), 0o755), os.RemoveAll(rock)); err != nil { //nolint:gosec // like everything else in bin
		return err
	}
	digest, err := output(ctx, "skopeo", "inspect", "--format", "{{.Digest}}", "oci:"+image)
	if err != nil {
		return err
	}
	if _, err := output(ctx, "skopeo", "copy", "oci:"+image, "oci-archive:"+rock+":"+p.Version); err != nil {
		return err
	}
	if docker {
		if _, err := output(ctx, "skopeo", "copy", "oci:"+image, "docker-daemon:"+p.Name+":"+p.Version); err != nil {
			return err
		}
	}
	fmt.Printf("%s\t%s\n", rock, digest)
	return nil
}

// image writes an OCI layout to dir, and returns it as LAYOUT:TAG, the form that umoci and
// skopeo use.
func (p project) image(ctx context.Context, repo, dir string) (string, error) {
	root, layer := filepath.Join(dir, "root"), filepath.Join(dir, "layer.tar")
	if err := p.build(ctx, repo, root); err != nil {
		return "", err
	}
	f, err := os.Create(layer)
	if err != nil {
		return "", err
	}
	if err := errors.Join(writeTar(f, root), f.Close()); err != nil {
		return "", fmt.Errorf("cannot write the layer: %w", err)
	}
	layout := filepath.Join(dir, "oci")
	image := layout + ":" + p.Version
	now := made.Format(time.RFC3339)
	config := []string{
		"config", "--image", image, "--created", now, "--history.created", now, "--history.author", "rockimage", "--history.comment", "configuration",
		"--architecture", runtime.GOARCH, "--os", "linux", "--config.user", strconv.Itoa(daemonID),
		"--config.entrypoint", "/usr/bin/pebble", "--config.entrypoint", "enter", "--clear=config.cmd",
		"--config.env", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		"--config.label", "org.opencontainers.image.title=" + p.Title,
		"--config.label", "org.opencontainers.image.version=" + p.Version,
		"--config.label", "org.opencontainers.image.licenses=" + p.License,
		"--config.label", "org.opencontainers.image.ref.name=" + p.Name,
	}
	for _, name := range slices.Sorted(maps.Keys(p.Environment)) {
		config = append(config, "--config.env", name+"="+p.Environment[name])
	}
	for _, args := range [][]string{
		{"init", "--layout", layout},
		{"new", "--image", image},
		{"raw", "add-layer", "--image", image, "--history.created", now, "--history.author", "rockimage", "--history.comment", p.Name, layer},
		config,
	} {
		if _, err := output(ctx, "umoci", args...); err != nil {
			return "", err
		}
	}
	return image, nil
}

// output runs a command and returns its standard output without the trailing newline.
func output(ctx context.Context, name string, args ...string) (string, error) {
	var stdout, stderr bytes.Buffer
	command := exec.CommandContext(ctx, name, args...)
	command.Stdout, command.Stderr = &stdout, &stderr
	if err := command.Run(); err != nil {
		return "", fmt.Errorf("%s %v: %w: %s", name, args, err, bytes.TrimSpace(stderr.Bytes()))
	}
	return string(bytes.TrimSuffix(stdout.Bytes(), []byte("\n"))), nil
}
