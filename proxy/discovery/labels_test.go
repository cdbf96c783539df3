package discovery

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

func TestLabelSources(t *testing.T) {
	pod := newPod("web-0", map[string]string{"team": "blue", portAnnotation: "8080"})
	pod.Labels = map[string]string{"app": "web"}
	pod.Spec = corev1.PodSpec{
		NodeName:       "node-1",
		Containers:     []corev1.Container{{Name: "app", Ports: []corev1.ContainerPort{{ContainerPort: 8081}, {ContainerPort: 8080}}}},
		InitContainers: []corev1.Container{{Name: "sidecar", Ports: []corev1.ContainerPort{{ContainerPort: 9090}}}},
	}
	tests := []struct{ source, key, port, want string }{
		{"pod", "", "8080", "web-0"},
		{"namespace", "", "8080", "ns"},
		{"ip", "", "8080", "10.0.0.1"},
		{"node", "", "8080", "node-1"},
		{"uid", "", "8080", "uid-web-0"},
		{"port", "", "8080", "8080"},
		{"container", "", "8080", "app"},
		{"container", "", "9090", "sidecar"},
		{"container", "", "1234", ""},
		{"label", "app", "8080", "web"},
		{"label", "absent", "8080", ""},
		{"annotation", "team", "8080", "blue"},
		{"annotation", "absent", "8080", ""},
	}
	for _, tt := range tests {
		t.Run(tt.source+tt.key+tt.port, func(t *testing.T) {
			pod.Annotations[portAnnotation] = tt.port
			targets := targetsOf(pod, []LabelRule{{"x", tt.source, tt.key}})
			if got, want := targets[0].Labels, []target.Label{{Name: "x", Value: tt.want}}; len(targets) != 1 || !slices.Equal(got, want) {
				t.Errorf("labels are %v, want %v", got, want)
			}
		})
	}
}

// TestPortLabel wants k8s_port on each target of a pod that has several, unless a
// rule says otherwise.
func TestPortLabel(t *testing.T) {
	type labels = []target.Label
	pod := LabelRule{Name: "pod", Source: "pod"}
	name := target.Label{Name: "pod", Value: "web-0"}
	tests := []struct {
		name  string
		ports string
		rules []LabelRule
		want  []labels
	}{
		{"one port", "80", []LabelRule{pod}, []labels{{name}}},
		{"two ports", "80,81", []LabelRule{pod}, []labels{{name, {Name: "k8s_port", Value: "80"}}, {name, {Name: "k8s_port", Value: "81"}}}},
		{"twice the same", "80,80", []LabelRule{pod}, []labels{{name}}},
		{"two ports, one bad", "80,x", []LabelRule{pod}, []labels{{name, {Name: "k8s_port", Value: "80"}}, {name, {Name: "k8s_port", Value: "x"}}}},
		{"the port is mapped", "80,81", []LabelRule{{Name: "p", Source: "port"}, pod}, []labels{{{Name: "p", Value: "80"}, name}, {{Name: "p", Value: "81"}, name}}},
		{"the name is taken", "80,81", []LabelRule{{Name: "k8s_port", Source: "pod"}}, []labels{{{Name: "k8s_port", Value: "web-0"}}, {{Name: "k8s_port", Value: "web-0"}}}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var got []labels
			for _, target := range targetsOf(newPod("web-0", map[string]string{portAnnotation: tt.ports}), tt.rules) {
				got = append(got, target.Labels)
			}
			if !slices.EqualFunc(got, tt.want, slices.Equal) {
				t.Errorf("got %v, want %v", got, tt.want)
			}
		})
	}
}
