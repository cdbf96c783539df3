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

// What the README wants is enough, everywhere or in a namespace, and each verb is needed:
// without it happens what the README says.
func TestDocumentedRoleIsMinimal(t *testing.T) {
	var role rbacv1.ClusterRole
	must(t, yaml.UnmarshalStrict([]byte(readmeBlock(t, "# RBAC")), &role))
	if len(role.Rules) != 1 || !slices.Equal(role.Rules[0].Verbs, []string{"list", "watch"}) {
		t.Fatalf("the rules are %v, want one that allows to list and watch", role.Rules)
	}
	p := podThatSays(t, "rbac", 6300)
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
		grant          testbed.Grant
		namespaces     string
		isReady        bool
		logged, answer string
	}{
		"role-everywhere": {testbed.Grant{Rules: without("none")}, "", true, "", ""},
		"role-namespace":  {testbed.Grant{Namespace: "rbac", Rules: without("none")}, "rbac", true, "", ""},
		"role-no-watch":   {testbed.Grant{Rules: without("watch")}, "", true, "cannot watch pods, listing them periodically instead", ""},
		"role-no-list":    {testbed.Grant{Rules: without("list")}, "", true, "", ""}, // a new API server lists in a watch
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
				if (status == http.StatusOK) != test.isReady || !strings.Contains(body, test.answer) {
					return fmt.Errorf("/-/ready answers %d %s", status, body)
				}
				return nil
			})
			if !test.isReady {
				for _, route := range []string{"/-/ready", "/metrics"} {
					if status, body := get(t, proxy.URL(route), nil); status != http.StatusServiceUnavailable || !strings.Contains(body, test.answer) {
						t.Errorf("%s answers %d %s, want 503 and %q", route, status, body, test.answer)
					}
				}
				// Once it is allowed nothing has to be restarted.
				must(t, shared.cluster.Allow(t.Context(), name, testbed.Grant{Rules: role.Rules}))
			}
			wantSaid(t, proxy, p.Name)
			if status, body := get(t, proxy.URL("/-/ready"), nil); status != http.StatusOK {
				t.Errorf("/-/ready answers %d %s", status, body)
			}
			if !strings.Contains(proxy.Log(), test.logged) {
				t.Errorf("the log does not say %q", test.logged)
			}
		})
	}
}
