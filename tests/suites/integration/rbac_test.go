package integration

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/yaml"

	"github.com/canonical/metrics-k8s-proxy/tests/testbed"
)

// TestDocumentedRoleIsMinimal checks that the rules of the README are sufficient, in a
// ClusterRole and in a Role, and that the proxy behaves as documented if a verb is missing.
func TestDocumentedRoleIsMinimal(t *testing.T) {
	var role rbacv1.ClusterRole
	must(t, yaml.UnmarshalStrict([]byte(readmeBlock(t, "# RBAC")), &role))
	if len(role.Rules) != 1 || !slices.Equal(role.Rules[0].Verbs, []string{"list", "watch"}) {
		t.Fatalf("the rules are %v, want one with the verbs list and watch", role.Rules)
	}
	p := podWithSample(t, "rbac", 6300)
	createPods(t, p)
	without := func(verb string) []rbacv1.PolicyRule {
		rules := role.DeepCopy().Rules
		rules[0].Verbs = slices.DeleteFunc(rules[0].Verbs, func(v string) bool { return v == verb || verb == "all" })
		if len(rules[0].Verbs) == 0 {
			return nil
		}
		return rules
	}
	for name, test := range map[string]struct {
		grant            testbed.Grant
		namespaces       string
		isReady          bool
		logged, response string
	}{
		"role-everywhere": {testbed.Grant{Rules: without("none")}, "", true, "", ""},
		"role-namespace":  {testbed.Grant{Namespace: "rbac", Rules: without("none")}, "rbac", true, "", ""},
		"role-no-watch":   {testbed.Grant{Rules: without("watch")}, "", true, "cannot watch pods, listing them periodically instead", ""},
		"role-no-list":    {testbed.Grant{Rules: without("list")}, "", true, "", ""}, // new API servers stream lists as a watch
		"role-nothing":    {testbed.Grant{Rules: without("all")}, "", false, "", `expected a ClusterRole with the rule apiGroups: [""], resources: ["pods"], verbs: ["list", "watch"]`},
	} {
		t.Run(name, func(t *testing.T) {
			user, err := shared.cluster.NewUser(t.Context(), name, test.grant)
			must(t, err)
			config, err := shared.cluster.Kubeconfig(user, "")
			must(t, err)
			proxy := startProxyWith(t, testbed.ProxyOptions{NoWait: true, Env: map[string]string{"KUBECONFIG": config, "NAMESPACES": test.namespaces}}, "rbac")
			eventually(t, func() error { return listens(proxy.Address()) })
			eventually(t, func() error {
				status, body := get(t, proxy.URL("/-/ready"), nil)
				if (status == http.StatusOK) != test.isReady || !strings.Contains(body, test.response) {
					return fmt.Errorf("/-/ready returns %d %s", status, body)
				}
				return nil
			})
			if !test.isReady {
				for _, route := range []string{"/-/ready", "/metrics"} {
					if status, body := get(t, proxy.URL(route), nil); status != http.StatusServiceUnavailable || !strings.Contains(body, test.response) {
						t.Errorf("%s returns %d %s, want 503 and %q", route, status, body, test.response)
					}
				}
				// Once the permission is granted, the proxy continues without a restart.
				must(t, shared.cluster.Allow(t.Context(), name, testbed.Grant{Rules: role.Rules}))
			}
			wantSamples(t, proxy, p.Name)
			if status, body := get(t, proxy.URL("/-/ready"), nil); status != http.StatusOK {
				t.Errorf("/-/ready returns %d %s", status, body)
			}
			if !strings.Contains(proxy.Log(), test.logged) {
				t.Errorf("no %q in the log", test.logged)
			}
		})
	}
}
