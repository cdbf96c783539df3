package integration

import (
	"fmt"
	"maps"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// asContainer is a script that runs a program like a container of the overlays: with the host
// name of the pod, the files of its service account, a read-only root file system, its user,
// and without capabilities. The arguments are the host name, the directory with the service
// account's files, the program, the user, and the arguments of the program.
const asContainer = `set -e
hostname "$1"
mount -t tmpfs none /run
mkdir -p /run/secrets/kubernetes.io/serviceaccount
cp "$2"/* /run/secrets/kubernetes.io/serviceaccount
chmod -R a+rX /run/secrets
touch /run/metrics-proxy
mount --bind "$3" /run/metrics-proxy
mount -o remount,ro /run
mount -o remount,bind,ro /
user=$4
shift 4
exec setpriv --reuid "$user" --regid "$user" --clear-groups --bounding-set=-all --inh-caps=-all --no-new-privs --pdeathsig KILL /run/metrics-proxy "$@"`

// runPod runs the proxy of a pod with the pod's arguments, environment, service account and
// user, but with other ports. If this machine does not allow new namespaces, the proxy runs
// without them, and with a kubeconfig for the same token.
func runPod(t *testing.T, pod corev1.Pod, more map[string]string) *testbed.Proxy {
	t.Helper()
	c := pod.Spec.Containers[0]
	if !slices.Equal(c.Command, []string{"/bin/metrics-proxy"}) || len(pod.Spec.Containers) != 1 {
		t.Fatalf("the command is %v, want the program of the image", c.Command)
	}
	if mount := pod.Spec.AutomountServiceAccountToken; mount == nil || !*mount {
		t.Fatal("the pod must set automountServiceAccountToken, because the service account does not")
	}
	env := environment(t, pod)
	maps.Copy(env, more)
	account, config := accountFiles(t, pod)
	options := testbed.ProxyOptions{Binary: shared.binary, Args: c.Args, Env: env, NoWait: true}
	if unshare, err := exec.LookPath("unshare"); err == nil && exec.Command(unshare, "--mount", "--uts", "setpriv", "--no-new-privs", "true").Run() == nil {
		server, err := url.Parse(shared.cluster.Server)
		must(t, err)
		env["KUBERNETES_SERVICE_HOST"], env["KUBERNETES_SERVICE_PORT"] = server.Hostname(), server.Port()
		options.Binary = unshare
		options.Args = append([]string{"--mount", "--uts", "sh", "-c", asContainer, "sh", pod.Name, account, shared.binary, fmt.Sprint(*pod.Spec.SecurityContext.RunAsUser)}, c.Args...)
	} else {
		t.Log("this machine does not allow new namespaces: the proxy runs as the current user")
		env["KUBECONFIG"] = config
		if env["SHARD_INDEX"] == "auto" {
			env["SHARD_INDEX"] = regexp.MustCompile(`\d+$`).FindString(pod.Name)
		}
	}
	proxy, err := shared.bed.StartProxy(t.Context(), options)
	must(t, err)
	t.Cleanup(func() {
		if _, err := proxy.Stop(); err != nil {
			t.Error(err)
		}
		if t.Failed() {
			t.Logf("log of %s:\n%s", pod.Name, proxy.Log())
		}
	})
	return proxy
}

// environment returns the environment variables of the pod's container.
func environment(t *testing.T, pod corev1.Pod) map[string]string {
	t.Helper()
	env := map[string]string{}
	for _, from := range pod.Spec.Containers[0].EnvFrom {
		configMap, err := shared.cluster.Client.CoreV1().ConfigMaps(pod.Namespace).Get(t.Context(), from.ConfigMapRef.Name, metav1.GetOptions{})
		must(t, err)
		maps.Copy(env, configMap.Data)
	}
	for _, variable := range pod.Spec.Containers[0].Env {
		value := variable.Value
		if from := variable.ValueFrom; from != nil {
			fields := map[string]string{"spec.nodeName": pod.Spec.NodeName, "metadata.namespace": pod.Namespace}
			if from.FieldRef == nil || fields[from.FieldRef.FieldPath] == "" {
				t.Fatalf("%s has the unsupported source %v", variable.Name, from)
			}
			value = fields[from.FieldRef.FieldPath]
		}
		env[variable.Name] = value
	}
	return env
}

// accountFiles writes the files of a pod's service account to a directory, and a kubeconfig
// with the same token.
func accountFiles(t *testing.T, pod corev1.Pod) (dir, config string) {
	t.Helper()
	token, err := shared.cluster.Client.CoreV1().ServiceAccounts(pod.Namespace).CreateToken(t.Context(), pod.Spec.ServiceAccountName, &authenticationv1.TokenRequest{}, metav1.CreateOptions{})
	must(t, err)
	config, err = shared.cluster.Kubeconfig(testbed.User{Token: token.Status.Token}, "")
	must(t, err)
	parsed, err := clientcmd.LoadFromFile(config)
	must(t, err)
	dir = t.TempDir()
	for name, content := range map[string]string{
		"token": token.Status.Token, "namespace": pod.Namespace,
		"ca.crt": string(parsed.Clusters["testbed"].CertificateAuthorityData),
	} {
		must(t, os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600))
	}
	return dir, config
}
