package main

import (
	"archive/tar"
	"context"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"time"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// daemonID is the user ID and group ID of _daemon_ in every rock.
const daemonID = 584792

// made is the timestamp of the image and of all its files. It is constant, so that the build
// is reproducible.
var made = time.Unix(0, 0).UTC()

// slicePaths maps the slices of Ubuntu packages that parts may stage to their files.
var slicePaths = map[string][]string{
	"ca-certificates_data": {"/etc/ssl/certs/ca-certificates.crt"},
}

// build writes the file tree of the image to root. repo is the directory of rockcraft.yaml.
func (p project) build(ctx context.Context, repo, root string) error {
	names := slices.Sorted(maps.Keys(p.Parts))
	for _, name := range names {
		if err := p.Parts[name].build(ctx, p, repo, root); err != nil {
			return fmt.Errorf("cannot build part %s: %w", name, err)
		}
	}
	for _, name := range names {
		if err := p.Parts[name].script(ctx, p.Parts[name].OverridePrime, p, repo, root); err != nil {
			return fmt.Errorf("cannot prime part %s: %w", name, err)
		}
	}
	if err := addPebble(ctx, filepath.Join(root, "usr/bin/pebble")); err != nil {
		return err
	}
	layer, err := p.layer()
	if err != nil {
		return err
	}
	for path, content := range map[string]string{
		"var/lib/pebble/default/layers/001-rockcraft-" + p.Name + ".yaml": string(layer),
		"etc/passwd":          fmt.Sprintf("root:x:0:0:root:/root:/bin/false\n_daemon_:x:%d:%d::/var/lib/pebble:/usr/sbin/nologin\n", daemonID, daemonID),
		"etc/group":           fmt.Sprintf("root:x:0:\n_daemon_:x:%d:\n", daemonID),
		".rock/metadata.yaml": fmt.Sprintf("name: %s\nversion: %q\nsummary: %s\ntitle: %s\nbase: %s\narchitecture: %s\n", p.Name, p.Version, p.Summary, p.Title, p.Base, runtime.GOARCH),
		"tmp/.keep":           "",
	} {
		if err := writeFile(filepath.Join(root, path), []byte(content)); err != nil {
			return err
		}
	}
	return os.Remove(filepath.Join(root, "tmp/.keep"))
}

func (p part) build(ctx context.Context, of project, repo, root string) error {
	for _, slice := range p.StagePackages {
		paths, ok := slicePaths[slice]
		if !ok {
			return fmt.Errorf("stage-packages has %s: expected a slice that is listed in slicePaths", slice)
		}
		for _, path := range paths {
			content, err := os.ReadFile(path)
			if err != nil {
				return fmt.Errorf("cannot stage %s, its package may not be installed: %w", slice, err)
			}
			if err := writeFile(filepath.Join(root, path), content); err != nil {
				return err
			}
		}
	}
	return p.script(ctx, p.OverrideBuild, of, repo, root)
}

// script runs a part's script as rockcraft does. All parts install directly into root,
// because everything that they install is staged and primed.
func (p part) script(ctx context.Context, script string, of project, repo, root string) error {
	if script == "" {
		return nil
	}
	command := exec.CommandContext(ctx, "bash", "-euc", script)
	command.Dir, command.Stdout, command.Stderr = repo, os.Stderr, os.Stderr
	command.Env = append(os.Environ(), "CRAFT_PROJECT_NAME="+of.Name, "CRAFT_PROJECT_VERSION="+of.Version, "CRAFT_PART_INSTALL="+root, "CRAFT_PRIME="+root)
	for _, variables := range p.BuildEnvironment {
		for name, value := range variables {
			command.Env = append(command.Env, name+"="+value)
		}
	}
	return command.Run()
}

// addPebble adds the version of Pebble that rocks include.
func addPebble(ctx context.Context, path string) error {
	binary, err := testbed.Binary(ctx, "pebble-1.32", os.Stderr)
	if err != nil {
		return err
	}
	content, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	if err := writeFile(path, content); err != nil {
		return err
	}
	return os.Chmod(path, 0o755) //nolint:gosec // a file of the image
}

func writeFile(path string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil { //nolint:gosec // a directory of the image
		return err
	}
	return os.WriteFile(path, content, 0o644) //nolint:gosec // a file of the image
}

// writeTar writes the tree as a layer: sorted, owned by root, and with the same timestamp.
// The directories that Pebble changes are writable by every user, as in every rock, because
// Juju runs Pebble as other users.
func writeTar(w io.Writer, root string) error {
	out := tar.NewWriter(w)
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		name, relErr := filepath.Rel(root, path)
		if err != nil || relErr != nil || name == "." {
			return err
		}
		info, err := entry.Info()
		if err != nil {
			return err
		}
		header := &tar.Header{Name: name, ModTime: made, Format: tar.FormatPAX, Mode: 0o644, Typeflag: tar.TypeReg, Size: info.Size()}
		switch {
		case name == "var/lib/pebble/default" || name == "var/lib/pebble/default/layers":
			header.Mode = 0o777
		case name == "tmp":
			header.Mode = 0o1777
		case entry.IsDir() || info.Mode()&0o100 != 0:
			header.Mode = 0o755
		}
		if entry.IsDir() {
			header.Name, header.Typeflag, header.Size = name+"/", tar.TypeDir, 0
			return out.WriteHeader(header)
		}
		if err := out.WriteHeader(header); err != nil {
			return err
		}
		return copyFile(out, path)
	})
	if err != nil {
		return err
	}
	return out.Close()
}

func copyFile(w io.Writer, path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(w, f)
	_ = f.Close()
	return err
}
