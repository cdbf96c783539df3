package discovery

import (
	"strings"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// byLabel returns a dialect of pods that have the label job, which is also the label of the
// target.
func byLabel() Dialect {
	return Dialect{
		name: "job", selector: "job", needs: needs{labels: []string{"job"}},
		targets: func(pod *corev1.Pod) []*target.Target {
			return []*target.Target{{ID: "metrics", URL: "http://" + pod.Status.PodIP + ":80/metrics", Labels: []target.Label{{Name: "job", Value: pod.Labels["job"]}}}}
		},
	}
}

// TestTwoDialects checks that a pod that matches two dialects has a target of each, with
// different IDs and without a problem. Each dialect has its own selector. Metrics and
// messages of a namespace are not repeated.
func TestTwoDialects(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := fakeAPI{listForbidden: true}
		p, _ := api.start(t, func(o *Options) { o.Dialects = append(o.Dialects, byLabel()) })
		if err := p.Ready(); err == nil || strings.Count(err.Error(), "pods is forbidden") != 1 {
			t.Errorf("Ready returns %v, want the refusal once", err)
		}
		selectors := map[string]bool{}
		for _, u := range api.requests {
			selectors[u.Query().Get("labelSelector")] = true
		}
		if !selectors["app=web"] || !selectors["job"] || len(selectors) != 2 {
			t.Errorf("got label selectors %v, want app=web and job", selectors)
		}

		both := newPod("both", nil)
		both.Labels = map[string]string{"job": "x", "other": "y"}
		for _, v := range p.views {
			slim, err := v.Transformer()(both.DeepCopy())
			must(t, err)
			must(t, v.Replace([]any{slim}, "1"))
		}
		wantTargets(t, p, "both http://10.0.0.1:80/metrics", "both http://10.0.0.1:80/metrics")
		targets := p.Targets()
		if a, b := targets[0], targets[1]; a.ID == b.ID || a.Problem != nil || b.Problem != nil || a.Labels[0].Value != "both" || b.Labels[0].Value != "x" {
			t.Errorf("got targets %+v and %+v, want one of each dialect", a, b)
		}
		if err := p.Ready(); err != nil {
			t.Errorf("Ready returns %v", err)
		}

		// While one view does not know yet that the pod is terminating, both targets stay.
		going := both.DeepCopy()
		going.DeletionTimestamp = &metav1.Time{}
		must(t, p.views[0].Update(going))
		wantTargets(t, p, "both http://10.0.0.1:80/metrics", "both http://10.0.0.1:80/metrics")

		// The old pod is also dropped from the dialect that does not select the new one.
		old := both.DeepCopy()
		old.DeletionTimestamp = &metav1.Time{}
		must(t, p.views[0].Replace([]any{old, newPod("young", nil)}, "2"))
		must(t, p.views[1].Replace([]any{old}, "2"))
		wantTargets(t, p, "young http://10.0.0.1:80/metrics")
	})
}
