package integration

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
	"github.com/canonical/metrics-k8s-proxy/tests/testbed/exporter"
)

// TestDeploy applies each overlay of deploy/kustomize as deploy/README.md describes, in a
// namespace that enforces the restricted Pod Security Standard. The real controllers create
// the pods, the real scheduler assigns them to nodes, and the test runs each proxy as a
// kubelet would run it.
func TestDeploy(t *testing.T) {
	startControllers(t)
	nodes := createNodes(t, "deploy-node-0", "deploy-node-1")
	for n, test := range []struct {
		overlay  string
		pods     int
		edits    []string // old, new; in addition to those of every overlay
		headless bool
		budget   bool
	}{
		{overlay: "cluster", pods: 1},
		{overlay: "namespace", pods: 1},
		{overlay: "node", pods: len(nodes), headless: true},
		{overlay: "shards", pods: 3, edits: []string{"SHARD_COUNT=2", "SHARD_COUNT=3", "images:", "nameSuffix: -two\nimages:"}, headless: true, budget: true},
	} {
		t.Run(test.overlay, func(t *testing.T) {
			d := install(t, test.overlay, test.edits...)
			pods := d.pods(t, test.pods)
			targets := createTargets(t, d, nodes, 7000+100*n)
			for _, pod := range pods {
				checkAdmission(t, pod)
			}
			checkScraped(t, pods, targets)
			checkService(t, d, pods, test.headless)
			checkNetworkPolicy(t, d, pods[0])
			checkMonitors(t, d, pods[0])
			checkBudget(t, d, pods, test.budget)
			checkPermission(t, d, pods[0])
		})
	}
}

// A target is a pod to scrape.
type target struct {
	pod       testbed.Pod
	mayScrape func(proxy corev1.Pod) bool // whether the proxy may scrape it
}

// createTargets creates pods in the namespace of a deployment and in another one, on all nodes.
// It returns those that must be scraped, by name.
func createTargets(t *testing.T, d *deployment, nodes []string, n int) map[string]target {
	t.Helper()
	targets := map[string]target{}
	for i := range 12 {
		p := pod(t, d.namespace, n+i, exporter.Replay([]byte("a 1\n")))
		p.Containers = []corev1.Container{restrictedContainer()}
		p.NodeName = nodes[i%len(nodes)]
		if i%3 == 0 {
			p.Namespace = d.namespace + "-other"
			if d.overlay == "namespace" {
				createPods(t, p)
				continue // it must not be scraped
			}
		}
		createPods(t, p)
		targets[p.Name] = target{p, func(proxy corev1.Pod) bool {
			return d.overlay != "node" || proxy.Spec.NodeName == p.NodeName
		}}
	}
	return targets
}

// checkScraped runs the proxies of the pods, and checks that each target is scraped by exactly
// one of them, which may scrape it.
func checkScraped(t *testing.T, pods []corev1.Pod, targets map[string]target) {
	t.Helper()
	scrapedBy := map[string]string{}
	for _, pod := range pods {
		proxy := runPod(t, pod, nil)
		wantReady(t, proxy, pod)
		_, response := get(t, proxy.URL("/metrics"), nil)
		for name, up := range ups(response) {
			if other, duplicate := scrapedBy[name]; duplicate || !up || targets[name].mayScrape == nil || !targets[name].mayScrape(pod) {
				t.Errorf("%s on %s scrapes %s, up: %t; also scraped by %q", pod.Name, pod.Spec.NodeName, name, up, other)
			}
			scrapedBy[name] = pod.Name
		}
		if strings.Contains(proxy.Log(), "level=WARN") || strings.Contains(proxy.Log(), "level=ERROR") {
			t.Errorf("the log has warnings or errors:\n%s", proxy.Log())
		}
	}
	if missing := slices.DeleteFunc(slices.Collect(maps.Keys(targets)), func(name string) bool { return scrapedBy[name] != "" }); len(missing) > 0 {
		t.Errorf("no proxy scrapes %v", missing)
	}
}

// wantReady sends the requests of the pod's probes until they succeed.
func wantReady(t *testing.T, proxy *testbed.Proxy, pod corev1.Pod) {
	t.Helper()
	container := pod.Spec.Containers[0]
	for path, probe := range map[string]*corev1.Probe{"/-/ready": container.ReadinessProbe, "/-/healthy": container.LivenessProbe} {
		if probe == nil || probe.HTTPGet == nil || probe.HTTPGet.Path != path || portOf(pod, probe.HTTPGet.Port.String()) != 15090 {
			t.Fatalf("the probe is %v, want one for %s on port 15090", probe, path)
		}
		eventually(t, func() error {
			if err := listens(proxy.Address()); err != nil {
				return err
			}
			if status, body := get(t, proxy.URL(path), nil); status != http.StatusOK {
				return fmt.Errorf("%s returns %d %s", path, status, body)
			}
			return nil
		})
	}
}

// checkAdmission checks the pod's security context. Removing any field that the restricted Pod
// Security Standard requires must cause a violation. It also checks fields that the standard
// does not require, and resources.
func checkAdmission(t *testing.T, pod corev1.Pod) {
	t.Helper()
	fresh := func() *corev1.Pod {
		p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: "admission", Namespace: pod.Namespace, Labels: pod.Labels}, Spec: *pod.Spec.DeepCopy()}
		p.Spec.NodeName = ""
		return p
	}
	create := func(p *corev1.Pod) error {
		_, err := shared.cluster.Client.CoreV1().Pods(p.Namespace).Create(t.Context(), p, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		return err
	}
	must(t, create(fresh()))
	for name, remove := range map[string]func(*corev1.PodSecurityContext, *corev1.SecurityContext){
		"runAsNonRoot":             func(p *corev1.PodSecurityContext, _ *corev1.SecurityContext) { p.RunAsNonRoot = nil },
		"seccompProfile":           func(p *corev1.PodSecurityContext, _ *corev1.SecurityContext) { p.SeccompProfile = nil },
		"allowPrivilegeEscalation": func(_ *corev1.PodSecurityContext, c *corev1.SecurityContext) { c.AllowPrivilegeEscalation = nil },
		"capabilities":             func(_ *corev1.PodSecurityContext, c *corev1.SecurityContext) { c.Capabilities = nil },
	} {
		p := fresh()
		remove(p.Spec.SecurityContext, p.Spec.Containers[0].SecurityContext)
		if err := create(p); err == nil || !strings.Contains(err.Error(), "violates PodSecurity") || !strings.Contains(err.Error(), name) {
			t.Errorf("without %s: error %v, want a violation of PodSecurity", name, err)
		}
	}
	user, container := pod.Spec.SecurityContext.RunAsUser, pod.Spec.Containers[0]
	if readOnly := container.SecurityContext.ReadOnlyRootFilesystem; user == nil || *user != 584792 || readOnly == nil || !*readOnly {
		t.Errorf("the security context of the pod is %v, that of the container %v; want user 584792 and a read-only root file system", pod.Spec.SecurityContext, container.SecurityContext)
	}
	if container.Resources.Requests.Cpu().IsZero() || container.Resources.Requests.Memory().IsZero() || container.Resources.Limits.Memory().IsZero() {
		t.Errorf("resources are %v, want requests and a memory limit", container.Resources)
	}
}

// checkPermission checks that the service account has only the permissions that it needs, and
// that it needs each verb.
func checkPermission(t *testing.T, d *deployment, pod corev1.Pod) {
	t.Helper()
	if got := d.allowed(t); !slices.Equal(got, []string{"list pods", "watch pods"}) {
		t.Errorf("the service account has the permissions %v, want to list and watch pods", got)
	}
	for _, test := range []struct {
		verbs            []string
		env              map[string]string
		logged, notReady string
	}{
		{verbs: []string{"list"}, logged: "cannot watch pods, listing them periodically instead"},
		// API servers before 1.34 do not support streaming lists. Disable them in the client.
		{verbs: []string{"watch"}, env: map[string]string{"KUBE_FEATURE_WatchListClient": "false"}, notReady: "cannot list resource"},
		{notReady: `verbs: ["list", "watch"]`},
	} {
		d.allow(t, test.verbs...)
		proxy := runPod(t, pod, test.env)
		eventually(t, func() error { return listens(proxy.Address()) })
		eventually(t, func() error {
			status, body := get(t, proxy.URL("/-/ready"), nil)
			if (status == http.StatusOK) != (test.notReady == "") || !strings.Contains(body, test.notReady) || !strings.Contains(proxy.Log(), test.logged) {
				return fmt.Errorf("with verbs %v /-/ready returns %d %s, want %q there, and %q in the log", test.verbs, status, body, test.notReady, test.logged)
			}
			return nil
		})
	}
	d.allow(t, "list", "watch")
	wantReady(t, runPod(t, pod, map[string]string{"KUBE_FEATURE_WatchListClient": "false"}), pod)
}

// allowed returns the permissions of the service account in its namespace, without those that
// every user has.
func (d *deployment) allowed(t *testing.T) (all []string) {
	t.Helper()
	client := d.accountClient(t)
	review, err := client.AuthorizationV1().SelfSubjectRulesReviews().Create(t.Context(), &authorizationv1.SelfSubjectRulesReview{
		Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: d.namespace},
	}, metav1.CreateOptions{})
	must(t, err)
	for _, rule := range review.Status.ResourceRules {
		if slices.Contains(rule.APIGroups, "authorization.k8s.io") || slices.Contains(rule.APIGroups, "authentication.k8s.io") {
			continue // every user may review their own identity and permissions
		}
		for _, resource := range rule.Resources {
			for _, verb := range rule.Verbs {
				all = append(all, strings.TrimSpace(verb+" "+resource+" "+strings.Join(rule.APIGroups, "")))
			}
		}
	}
	slices.Sort(all)
	return all
}

// allow replaces the verbs of the deployment's role, and returns when the change is in effect.
// Without verbs it removes the rule.
func (d *deployment) allow(t *testing.T, verbs ...string) {
	t.Helper()
	rules := func() []rbacv1.PolicyRule {
		if len(verbs) == 0 {
			return nil
		}
		return []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"pods"}, Verbs: verbs}}
	}
	ctx, rbac := t.Context(), shared.cluster.Client.RbacV1()
	if d.overlay == "namespace" {
		role, err := rbac.Roles(d.namespace).Get(ctx, d.name, metav1.GetOptions{})
		must(t, err)
		role.Rules = rules()
		_, err = rbac.Roles(d.namespace).Update(ctx, role, metav1.UpdateOptions{})
		must(t, err)
	} else {
		role, err := rbac.ClusterRoles().Get(ctx, d.name, metav1.GetOptions{})
		must(t, err)
		role.Rules = rules()
		_, err = rbac.ClusterRoles().Update(ctx, role, metav1.UpdateOptions{})
		must(t, err)
	}
	want := []string{}
	for _, verb := range verbs {
		want = append(want, verb+" pods")
	}
	eventually(t, func() error {
		if got := d.allowed(t); !slices.Equal(got, want) {
			return fmt.Errorf("the service account has the permissions %v, want %v", got, want)
		}
		return nil
	})
}
