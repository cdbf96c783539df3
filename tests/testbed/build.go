package testbed

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"time"
)

// cachedBuild returns the path of the component's binary in the user's cache directory, and
// builds it if it is missing. Concurrent builds of the same binary wait for each other, also
// across processes.
func (c component) cachedBuild(ctx context.Context, progress io.Writer) (string, error) {
	root, err := repositoryRoot()
	if err != nil {
		return "", fmt.Errorf("cannot build %s: %w", c.name, err)
	}
	source := filepath.Join(root, "tests", "modules", "components", cmp.Or(c.source, c.name))
	key, err := c.cacheKey(ctx, source)
	if err != nil {
		return "", fmt.Errorf("cannot build %s: %w", c.name, err)
	}
	cache, err := os.UserCacheDir()
	if err != nil {
		return "", fmt.Errorf("cannot build %s: %w", c.name, err)
	}
	cache = filepath.Join(cache, "metrics-k8s-proxy")
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", fmt.Errorf("cannot build %s: %w", c.name, err)
	}
	binary := filepath.Join(cache, c.name+"-"+key)
	if isFile(binary) {
		return binary, nil
	}
	unlock, err := lockFile(ctx, binary+".lock")
	if err != nil {
		return "", fmt.Errorf("cannot build %s: %w", c.name, err)
	}
	defer unlock()
	if isFile(binary) { // another process built it while this one waited
		return binary, nil
	}
	if err := c.build(ctx, source, binary, progress); err != nil {
		return "", fmt.Errorf("cannot build %s: %w", c.name, err)
	}
	return binary, nil
}

// cacheKey is a hash of everything that determines the binary.
func (c component) cacheKey(ctx context.Context, source string) (string, error) {
	sum := sha256.New()
	for _, name := range []string{"go.mod", "go.sum"} {
		content, err := os.ReadFile(filepath.Join(source, name))
		if err != nil {
			return "", err
		}
		sum.Write(content)
	}
	// Run in the module, because its go directive may select another toolchain.
	version, err := goTool{dir: source}.run(ctx, "version")
	if err != nil {
		return "", err
	}
	fmt.Fprintf(sum, "%s%q", version, c.buildArguments(""))
	return fmt.Sprintf("%x", sum.Sum(nil))[:16], nil
}

func (c component) buildArguments(output string) []string {
	return []string{"build", "-trimpath", "-ldflags", "-s -w", "-tags", c.tags, "-o", output, c.pkg}
}

// build builds binary atomically: it appears complete or not at all.
func (c component) build(ctx context.Context, source, binary string, progress io.Writer) error {
	version, err := c.pinnedVersion(source)
	if err != nil {
		return err
	}
	fmt.Fprintf(progress, "building %s %s (%s on 2 cores, once) ...\n", c.name, version, c.duration)
	start := time.Now()
	scratch, err := os.MkdirTemp(filepath.Dir(binary), "building-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	output := filepath.Join(scratch, c.name)
	if _, err := (goTool{dir: source, scratch: scratch}).run(ctx, c.buildArguments(output)...); err != nil {
		return err
	}
	if err := os.Rename(output, binary); err != nil {
		return err
	}
	fmt.Fprintf(progress, "built %s %s in %s\n", c.name, version, time.Since(start).Round(time.Second))
	return nil
}

func (c component) pinnedVersion(source string) (string, error) {
	mod, err := os.ReadFile(filepath.Join(source, "go.mod"))
	if err != nil {
		return "", err
	}
	line := regexp.MustCompile(`(?m)^(?:require)?\s+` + regexp.QuoteMeta(c.module) + ` (v\S+)`)
	match := line.FindSubmatch(mod)
	if match == nil {
		return "", fmt.Errorf("%s does not require %s", filepath.Join(source, "go.mod"), c.module)
	}
	return string(match[1]), nil
}

// ProxyBuild holds the options of BuildProxy.
type ProxyBuild struct {
	Race bool // with the race detector; needs a C compiler
}

// BuildProxy builds metrics-proxy from the repository of the working directory, and returns
// the path of the binary in the bed's directory. Go's build cache makes repeated builds fast.
func (b *Bed) BuildProxy(ctx context.Context, options ProxyBuild) (string, error) {
	root, err := repositoryRoot()
	if err != nil {
		return "", fmt.Errorf("cannot build metrics-proxy: %w", err)
	}
	name := "metrics-proxy"
	if options.Race {
		name = "metrics-proxy-race"
	}
	output := filepath.Join(b.Dir, name)
	fmt.Fprintf(b.progress, "building %s ...\n", name)
	start := time.Now()
	tool := goTool{dir: root, scratch: b.Dir, cgo: options.Race}
	_, err = tool.run(ctx, "build", "-buildvcs=false", fmt.Sprintf("-race=%t", options.Race), "-o", output, "./proxy")
	if err != nil {
		return "", fmt.Errorf("cannot build metrics-proxy: %w", err)
	}
	fmt.Fprintf(b.progress, "built %s in %s\n", name, time.Since(start).Round(100*time.Millisecond))
	return output, nil
}

// A goTool runs the go command.
type goTool struct {
	dir     string // working directory
	scratch string // directory for temporary files, which an interrupted build leaves behind; empty means the system's
	cgo     bool
}

// run returns the output of the command. An error contains the end of the output. When ctx
// is cancelled, run interrupts the command and its child processes.
func (g goTool) run(ctx context.Context, arguments ...string) ([]byte, error) {
	// The kernel ties a child to the thread that started it, see bindToParent.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	var output bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", arguments...)
	cmd.Dir = g.dir
	cgo := "CGO_ENABLED=0"
	if g.cgo {
		cgo = "CGO_ENABLED=1"
	}
	cmd.Env = append(os.Environ(), "GOWORK=off", cgo)
	if g.scratch != "" {
		cmd.Env = append(cmd.Env, "GOTMPDIR="+g.scratch)
	}
	cmd.Stdout, cmd.Stderr = &output, &output
	bindToParent(cmd)
	cmd.Cancel = func() error { return interruptGroup(cmd.Process) }
	cmd.WaitDelay = 10 * time.Second
	err := cmd.Run()
	switch {
	case err == nil:
		return output.Bytes(), nil
	case ctx.Err() != nil:
		killGroup(cmd.Process) // child processes that the command did not wait for
		return nil, ctx.Err()
	default:
		return nil, fmt.Errorf("go %s in %s: %w\n%s", arguments[0], g.dir, err, lastLines(output.String(), 20))
	}
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// repositoryRoot returns the root of the repository that contains the working directory. It
// looks for the components' modules.
func repositoryRoot() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for start := dir; ; dir = filepath.Dir(dir) {
		if isFile(filepath.Join(dir, "tests", "modules", "components", "etcd", "go.mod")) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no repository of metrics-k8s-proxy contains " + start)
		}
	}
}
