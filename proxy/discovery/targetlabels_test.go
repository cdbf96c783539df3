package discovery

import (
	"slices"
	"strings"
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
			want := []target.Label{{Name: "x", Value: tt.want}}
			if tt.source != "port" {
				want = append(want, target.Label{Name: "k8s_port"})
			}
			if got := targets[0].Labels; len(targets) != 1 || !slices.Equal(got, want) {
				t.Errorf("got labels %v, want %v", got, want)
			}
		})
	}
}

// TestPortLabel checks that each target has the label k8s_port, so that a label of that name
// which the target exposes is not mistaken for it, unless a rule maps the port or has that
// name. The value is empty if the pod has one target.
func TestPortLabel(t *testing.T) {
	type labels = []target.Label
	pod := LabelRule{Name: "pod", Source: "pod"}
	name := target.Label{Name: "pod", Value: "web-0"}
	none := target.Label{Name: "k8s_port"}
	tests := []struct {
		name  string
		ports string
		rules []LabelRule
		want  []labels
	}{
		{"one port", "80", []LabelRule{pod}, []labels{{name, none}}},
		{"no rule", "80", nil, []labels{{none}}},
		{"two ports", "80,81", []LabelRule{pod}, []labels{{name, {Name: "k8s_port", Value: "80"}}, {name, {Name: "k8s_port", Value: "81"}}}},
		{"two ports with leading zeros", "080, 0081", []LabelRule{pod}, []labels{{name, {Name: "k8s_port", Value: "80"}}, {name, {Name: "k8s_port", Value: "81"}}}},
		{"the same port twice", "80,080", []LabelRule{pod}, []labels{{name, none}}},
		{"two ports, one invalid", "80,x", []LabelRule{pod}, []labels{{name, none}}},
		{"one port that is mapped", "080", []LabelRule{{Name: "p", Source: "port"}, pod}, []labels{{{Name: "p", Value: "80"}, name}}},
		{"an invalid port that is mapped", "x", []LabelRule{{Name: "p", Source: "port"}, pod}, []labels{{{Name: "p"}, name}}},
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

// TestBadLabelValues checks that an invalid label value results in a target with a problem,
// and is replaced by an empty value. The other labels are not affected.
func TestBadLabelValues(t *testing.T) {
	pod := newPod("web-0", map[string]string{
		"as-long-as-allowed": strings.Repeat("x", 1024), "long": strings.Repeat("x", 1025), "very-long": strings.Repeat("x", 1<<18),
		"latin1": "caf\xe9", "utf8": "café",
	})
	tests := []struct {
		key  string
		want string // part of the message; empty = no problem
	}{
		{"as-long-as-allowed", ""},
		{"utf8", ""},
		{"absent", ""},
		{"long", `xx": expected valid UTF-8 of at most 1024 bytes for the label bad`},
		{"very-long", `xx": expected valid UTF-8 of at most 1024 bytes for the label bad`},
		{"latin1", `annotation latin1 is "caf\xe9": expected valid UTF-8`},
	}
	for _, tt := range tests {
		t.Run(tt.key, func(t *testing.T) {
			rules := []LabelRule{{Name: "bad", Source: "annotation", Key: tt.key}, {Name: "pod", Source: "pod"}}
			targets := targetsOf(pod, rules)
			if len(targets) != 1 {
				t.Fatalf("got %d targets, want 1", len(targets))
			}
			value := pod.Annotations[tt.key]
			if tt.want != "" {
				value = ""
			}
			want := []target.Label{{Name: "bad", Value: value}, {Name: "pod", Value: "web-0"}, {Name: "k8s_port"}}
			if got := targets[0].Labels; !slices.Equal(got, want) {
				t.Errorf("got labels %.200v, want %.200v", got, want)
			}
			problem := targets[0].Problem
			if (problem != nil) != (tt.want != "") || (targets[0].URL == "") != (tt.want != "") {
				t.Fatalf("got problem %+v, URL %q, want a problem: %t", problem, targets[0].URL, tt.want != "")
			}
			if problem != nil && (problem.Reason != target.Annotation || !strings.Contains(problem.Err.Error(), tt.want) || len(problem.Err.Error()) > 300) {
				t.Errorf("got problem %s: %.400v, want annotation, and %q in a short message", problem.Reason, problem.Err, tt.want)
			}
		})
	}
}

// TestBadLabelValueOfSeveral checks that each target of a pod has a problem, and that the
// port distinguishes them.
func TestBadLabelValueOfSeveral(t *testing.T) {
	pod := newPod("web-0", map[string]string{portAnnotation: "80,81", "latin1": "\xe9"})
	targets := targetsOf(pod, []LabelRule{{Name: "bad", Source: "annotation", Key: "latin1"}})
	if got, want := summary(target.Distinct(targets)), "(annotation) (annotation)"; got != want {
		t.Errorf("got targets %q, want %q", got, want)
	}
}
