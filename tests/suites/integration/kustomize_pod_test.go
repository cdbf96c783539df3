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

// asContainer runs a program as a container of ours runs: with the host name of the pod, the
// files of its service account, a read-only root file system, its user, and no capability.
// The arguments are host name, the service account's files, program, user, and those of the program.
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

// runPod runs the proxy of a pod with what the pod says: arguments, environment, service
// account, user. Only the ports are others. Where this machine lets nobody make namespaces
// it runs without those, and with a kubeconfig for the same token.
func runPod(t *testing.T, pod corev1.Pod, more map[string]string) *testbed.Proxy {
	t.Helper()
	c := pod.Spec.Containers[0]
	if !slices.Equal(c.Command, []string{"/bin/metrics-proxy"}) || len(pod.Spec.Containers) != 1 {
		t.Fatalf("the command is %v, want the program of the image", c.Command)
	}
	if mount := pod.Spec.AutomountServiceAccountToken; mount == nil || !*mount {
		t.Fatal("the pod does not ask for its service account's token, and the account does not give it by itself")
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
		t.Log("this machine lets nobody make namespaces: the proxy runs as this user")
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

// environment is that of the pod's container.
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
				t.Fatalf("%s comes from %v, which is not known", variable.Name, from)
			}
			value = fields[from.FieldRef.FieldPath]
		}
		env[variable.Name] = value
	}
	return env
}

// accountFiles makes a directory with what a pod is given of its service account, and a
// kubeconfig with the same token.
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
