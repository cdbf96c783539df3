package integration

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// A deployment is an overlay that is edited and applied as deploy/README.md describes.
type deployment struct {
	overlay, namespace string
	name               string // name of its objects
	rendered           string // output of kustomize build

	shell *shell
}

// install copies deploy/, edits the overlay, and runs the commands of deploy/README.md: those
// that apply it immediately, and those that remove it when the test ends.
func install(t *testing.T, overlay string, edits ...string) *deployment {
	t.Helper()
	d := &deployment{overlay: overlay, namespace: "deploy-" + overlay, shell: newShell(t)}
	d.name = "metrics-proxy" + suffix(edits)
	edits = append(edits, "namespace: metrics-proxy", "namespace: "+d.namespace, "POD_LABEL_SELECTOR=app=web", "POD_LABEL_SELECTOR=test="+d.namespace)
	edit(t, filepath.Join(d.shell.dir, "deploy/kustomize/overlays", overlay, "kustomization.yaml"), edits...)
	readme, err := os.ReadFile("../../../deploy/README.md")
	must(t, err)
	blocks := regexp.MustCompile("(?s)```sh\n(.*?)```").FindAllStringSubmatch(string(readme), -1)
	if len(blocks) != 2 {
		t.Fatalf("deploy/README.md has %d sh blocks, want one that applies and one that removes", len(blocks))
	}
	adapt := strings.NewReplacer("namespace metrics-proxy", "namespace "+d.namespace, "overlays/cluster", "overlays/"+overlay).Replace
	must(t, quotedByReadme(blocks[0][1]))
	if output := d.shell.run(t, adapt(blocks[0][1])); strings.Contains(output, "Warning") {
		t.Errorf("warnings of the API server:\n%s", output)
	}
	t.Cleanup(func() {
		d.shell.run(t, adapt(blocks[1][1]))
		d.deletePods(t)
	})
	path := "deploy/kustomize/overlays/" + overlay
	must(t, wantRock(filepath.Join(d.shell.dir, path, "kustomization.yaml")))
	d.rendered = d.shell.run(t, "kustomize build "+path)
	if other := d.shell.run(t, "kubectl kustomize "+path); other != d.rendered {
		t.Errorf("kubectl kustomize and kustomize build differ:\n%s", other)
	}
	if overlay == "namespace" && strings.Contains(d.rendered, "kind: Cluster") {
		t.Errorf("the overlay for one namespace has cluster-wide roles:\n%s", d.rendered)
	}
	return d
}

// wantRock returns an error unless the image tag of an overlay is the version of the rock.
func wantRock(overlay string) error {
	rock, err := os.ReadFile("../../../rockcraft.yaml")
	if err != nil {
		return err
	}
	content, err := os.ReadFile(overlay)
	version := regexp.MustCompile(`(?m)^version: (.*)$`).FindStringSubmatch(string(rock))
	if err == nil && (version == nil || !strings.Contains(string(content), "newTag: "+version[1]+"\n")) {
		err = fmt.Errorf("the rock has version %v, %s has another tag", version, overlay)
	}
	return err
}

// suffix returns the nameSuffix that the edits set.
func suffix(edits []string) string {
	_, after, _ := strings.Cut(strings.Join(edits, "\n"), "nameSuffix: ")
	after, _, _ = strings.Cut(after, "\n")
	return after
}

// quotedByReadme returns an error unless the main README contains the last of the commands.
func quotedByReadme(commands string) error {
	lines := strings.Split(strings.TrimSpace(commands), "\n")
	readme, err := os.ReadFile("../../../README.md")
	if last := lines[len(lines)-1]; err == nil && !strings.Contains(string(readme), "    "+last+"\n") {
		err = fmt.Errorf("README.md has no command %q", last)
	}
	return err
}

// deletePods deletes ReplicaSets and pods, because no garbage collector runs.
func (d *deployment) deletePods(t *testing.T) {
	ctx, now := context.Background(), metav1.DeleteOptions{GracePeriodSeconds: new(int64(0))}
	err := shared.cluster.Client.AppsV1().ReplicaSets(d.namespace).DeleteCollection(ctx, now, metav1.ListOptions{})
	if err == nil {
		err = shared.cluster.Client.CoreV1().Pods(d.namespace).DeleteCollection(ctx, now, metav1.ListOptions{})
	}
	if err != nil {
		t.Error(err)
	}
}

// pods waits until the deployment has that number of pods, all scheduled.
func (d *deployment) pods(t *testing.T, want int) []corev1.Pod {
	t.Helper()
	var pods []corev1.Pod
	eventually(t, func() error {
		list, err := shared.cluster.Client.CoreV1().Pods(d.namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "app.kubernetes.io/name=metrics-proxy"})
		if err != nil {
			return err
		}
		pods = list.Items
		scheduled := 0
		for _, pod := range pods {
			if pod.Spec.NodeName != "" {
				scheduled++
			}
		}
		if scheduled != want || len(pods) != want {
			return fmt.Errorf("there are %d pods, %d of them scheduled, want %d", len(pods), scheduled, want)
		}
		return nil
	})
	return pods
}

// token returns a token of the deployment's service account.
func (d *deployment) token(t *testing.T) string {
	t.Helper()
	token, err := shared.cluster.Client.CoreV1().ServiceAccounts(d.namespace).CreateToken(t.Context(), d.name, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	must(t, err)
	return token.Status.Token
}

// accountClient returns a client with the deployment's service account.
func (d *deployment) accountClient(t *testing.T) kubernetes.Interface {
	t.Helper()
	path, err := shared.cluster.Kubeconfig(testbed.User{Token: d.token(t)}, "")
	must(t, err)
	config, err := clientcmd.BuildConfigFromFlags("", path)
	must(t, err)
	client, err := kubernetes.NewForConfig(config)
	must(t, err)
	return client
}

// A shell runs the commands of deploy/README.md, with kustomize and kubectl in PATH, in a
// directory with a copy of deploy/.
type shell struct {
	dir string
	env []string
}

func newShell(t *testing.T) *shell {
	t.Helper()
	root, err := filepath.Abs("../../..")
	must(t, err)
	s := &shell{dir: t.TempDir()}
	must(t, os.CopyFS(filepath.Join(s.dir, "deploy"), os.DirFS(filepath.Join(root, "deploy"))))
	tools := filepath.Join(s.dir, "tools")
	must(t, os.Mkdir(tools, 0o755))
	must(t, os.Symlink(goCommand(t, root, "tool", "-modfile="+filepath.Join(root, "tests/modules/tools/kustomize/go.mod"), "-n", "kustomize"), filepath.Join(tools, "kustomize")))
	kubectl, err := testbed.Binary(t.Context(), "kubectl", os.Stderr)
	must(t, err)
	must(t, os.Symlink(kubectl, filepath.Join(tools, "kubectl")))
	admin, err := shared.cluster.Kubeconfig(shared.cluster.Admin, "")
	must(t, err)
	s.env = []string{"PATH=" + tools + ":" + os.Getenv("PATH"), "HOME=" + s.dir, "KUBECONFIG=" + admin}
	return s
}

// run runs a script and returns its output. It fails the test if a command fails.
func (s *shell) run(t *testing.T, script string) string {
	t.Helper()
	output, err := s.try(script)
	if err != nil {
		t.Fatalf("%s\n%v\n%s", script, err, output)
	}
	return output
}

func (s *shell) try(script string) (string, error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-c", "set -euo pipefail\n"+script)
	cmd.Dir, cmd.Env = s.dir, s.env
	output, err := cmd.CombinedOutput()
	return string(output), err
}

// goCommand runs a go command in a directory and returns its output.
func goCommand(t *testing.T, dir string, args ...string) string {
	t.Helper()
	cmd := exec.Command("go", args...)
	cmd.Dir = dir
	output, err := cmd.Output()
	if err != nil {
		t.Fatalf("%v: %v", cmd, err)
	}
	return strings.TrimSpace(string(output))
}

// edit replaces each old text by the new one. The file must contain each old text once.
func edit(t *testing.T, path string, oldNew ...string) {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	text := string(content)
	for i := 0; i < len(oldNew); i += 2 {
		if n := strings.Count(text, oldNew[i]); n != 1 {
			t.Fatalf("%s contains %q %d times, want once", path, oldNew[i], n)
		}
		text = strings.Replace(text, oldNew[i], oldNew[i+1], 1)
	}
	must(t, os.WriteFile(path, []byte(text), 0o600))
}

// startControllers starts the scheduler and the controllers that the overlays need.
func startControllers(t *testing.T) {
	t.Helper()
	admin, err := shared.cluster.Kubeconfig(shared.cluster.Admin, "")
	must(t, err)
	common := func(port string) []string {
		return []string{
			"--kubeconfig=" + admin, "--authentication-kubeconfig=" + admin, "--authorization-kubeconfig=" + admin, "--leader-elect=false",
			"--authorization-always-allow-paths=/metrics", "--bind-address=127.0.0.1", "--secure-port=" + port, "--cert-dir=" + t.TempDir(),
		}
	}
	startProgram(t, "kube-scheduler", "https", common)
	startProgram(t, "kube-controller-manager", "https", func(port string) []string {
		return append(common(port), "--controllers=deployment-controller,replicaset-controller,daemonset-controller,statefulset-controller,disruption-controller,endpointslice-controller")
	})
}

// createNodes creates ready nodes, and deletes them when the test ends. All but the first are
// tainted.
func createNodes(t *testing.T, names ...string) []string {
	t.Helper()
	nodes := shared.cluster.Client.CoreV1().Nodes()
	size := corev1.ResourceList{"cpu": resource.MustParse("4"), "memory": resource.MustParse("8Gi"), "pods": resource.MustParse("110")}
	for i, name := range names {
		_, err := nodes.Create(t.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}, Status: corev1.NodeStatus{
			Capacity: size, Allocatable: size,
			Conditions: []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		}}, metav1.CreateOptions{})
		must(t, err)
		t.Cleanup(func() { _ = nodes.Delete(context.Background(), name, metav1.DeleteOptions{}) })
		taints := []corev1.Taint{{Key: "dedicated", Effect: corev1.TaintEffectNoSchedule}, {Key: "ending", Effect: corev1.TaintEffectNoExecute}}
		if i == 0 {
			taints = nil // removes the taint not-ready of a new node
		}
		patch, err := json.Marshal(map[string]any{"spec": map[string]any{"taints": taints}})
		must(t, err)
		_, err = nodes.Patch(t.Context(), name, types.MergePatchType, patch, metav1.PatchOptions{})
		must(t, err)
	}
	return names
}

// TestCustomKustomization checks that the kustomization in deploy/README.md results in the same
// objects as editing the overlay.
func TestCustomKustomization(t *testing.T) {
	s := newShell(t)
	readme, err := os.ReadFile("../../../deploy/README.md")
	must(t, err)
	block := regexp.MustCompile("(?s)```yaml\n(.*?)```").FindSubmatch(readme)
	if block == nil {
		t.Fatal("deploy/README.md has no kustomization")
	}
	must(t, os.Mkdir(filepath.Join(s.dir, "mine"), 0o755))
	must(t, os.WriteFile(filepath.Join(s.dir, "mine/kustomization.yaml"), block[1], 0o600))
	mine := s.run(t, "kustomize build mine")
	edit(t, filepath.Join(s.dir, "deploy/kustomize/overlays/cluster/kustomization.yaml"),
		"namespace: metrics-proxy", "namespace: monitoring", "=app=web", "=app in (web,db)",
		"newName: registry.example.com/metrics-proxy", "newName: registry.internal/metrics-proxy")
	if edited := s.run(t, "kustomize build deploy/kustomize/overlays/cluster"); mine != edited {
		t.Errorf("the kustomization results in\n%s\nthe edited overlay in\n%s", mine, edited)
	}
}
