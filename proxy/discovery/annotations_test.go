package discovery

import (
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// newPod is a running pod that asks to be scraped, with more annotations; an empty
// value takes one out.
func newPod(name string, annotations map[string]string) *corev1.Pod {
	all := map[string]string{scrapeAnnotation: "true"}
	maps.Copy(all, annotations)
	maps.DeleteFunc(all, func(_, value string) bool { return value == "" })
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: types.UID("uid-" + name), Annotations: all},
		Status:     corev1.PodStatus{PodIP: "10.0.0.1", Phase: corev1.PodRunning},
	}
}

// summary is what matters of targets: the URL, or the reason why there is none.
func summary(targets []*target.Target) string {
	var all []string
	for _, t := range targets {
		if t.Problem != nil {
			all = append(all, "("+string(t.Problem.Reason)+")"+t.URL)
		} else {
			all = append(all, t.URL)
		}
	}
	return strings.Join(all, " ")
}

func TestTargetsOf(t *testing.T) {
	tests := []struct {
		name        string
		annotations map[string]string
		change      func(*corev1.Pod)
		want        string
	}{
		{name: "defaults", want: "http://10.0.0.1:80/metrics"},
		{name: "not annotated", annotations: map[string]string{scrapeAnnotation: ""}},
		{name: "scrape is True", annotations: map[string]string{scrapeAnnotation: "True"}},
		{name: "scrape is false", annotations: map[string]string{scrapeAnnotation: "false", portAnnotation: "8080"}},
		{name: "no address", change: func(p *corev1.Pod) { p.Status.PodIP = "" }},
		{name: "completed", change: func(p *corev1.Pod) { p.Status.Phase = corev1.PodSucceeded }},
		{name: "failed", change: func(p *corev1.Pod) { p.Status.Phase = corev1.PodFailed }},
		{name: "pending", change: func(p *corev1.Pod) { p.Status.Phase = corev1.PodPending }, want: "http://10.0.0.1:80/metrics"},
		{name: "unknown", change: func(p *corev1.Pod) { p.Status.Phase = corev1.PodUnknown }, want: "http://10.0.0.1:80/metrics"},
		{name: "IPv6", change: func(p *corev1.Pod) { p.Status.PodIP = "fd00::1" }, want: "http://[fd00::1]:80/metrics"},

		{name: "a port", annotations: map[string]string{portAnnotation: "9090"}, want: "http://10.0.0.1:9090/metrics"},
		{name: "least and greatest", annotations: map[string]string{portAnnotation: "1,65535"}, want: "http://10.0.0.1:1/metrics http://10.0.0.1:65535/metrics"},
		{name: "blanks", annotations: map[string]string{portAnnotation: " 9090 , 9091"}, want: "http://10.0.0.1:9090/metrics http://10.0.0.1:9091/metrics"},
		{name: "the same port twice", annotations: map[string]string{portAnnotation: "9090, 9090"}, want: "http://10.0.0.1:9090/metrics"},
		{name: "port 0", annotations: map[string]string{portAnnotation: "0"}, want: "(annotation)"},
		{name: "port 65536", annotations: map[string]string{portAnnotation: "65536"}, want: "(annotation)"},
		{name: "port by name", annotations: map[string]string{portAnnotation: "http"}, want: "(annotation)"},
		{name: "port with a sign", annotations: map[string]string{portAnnotation: "+80"}, want: "(annotation)"},
		{name: "one port bad", annotations: map[string]string{portAnnotation: "9090,x"}, want: "http://10.0.0.1:9090/metrics (annotation)"},
		{name: "comma at the end", annotations: map[string]string{portAnnotation: "9090,"}, want: "http://10.0.0.1:9090/metrics (annotation)"},

		{name: "https", annotations: map[string]string{schemeAnnotation: "https"}, want: "https://10.0.0.1:80/metrics"},
		{name: "HTTPS", annotations: map[string]string{schemeAnnotation: "HTTPS"}, want: "(annotation)"},
		{name: "ftp", annotations: map[string]string{schemeAnnotation: "ftp"}, want: "(annotation)"},

		{name: "a path", annotations: map[string]string{pathAnnotation: "/a/b"}, want: "http://10.0.0.1:80/a/b"},
		{name: "a path without slash", annotations: map[string]string{pathAnnotation: "a"}, want: "http://10.0.0.1:80/a"},
		{name: "a query", annotations: map[string]string{pathAnnotation: "/federate?match[]={job=\"a\"}&x=1"}, want: `http://10.0.0.1:80/federate?match[]={job="a"}&x=1`},
		{name: "a query without slash", annotations: map[string]string{pathAnnotation: "m?x=%20"}, want: "http://10.0.0.1:80/m?x=%20"},
		{name: "a path is never a host", annotations: map[string]string{pathAnnotation: "//evil:1/x"}, want: "http://10.0.0.1:80//evil:1/x"},
		{name: "a path is never a URL", annotations: map[string]string{pathAnnotation: "http://evil/x"}, want: "http://10.0.0.1:80/http://evil/x"},
		{name: "a path is no user", annotations: map[string]string{pathAnnotation: "@evil/x"}, want: "http://10.0.0.1:80/@evil/x"},
		{name: "a broken escape", annotations: map[string]string{pathAnnotation: "/%zz"}, want: "(annotation)"},
		{name: "a control character", annotations: map[string]string{pathAnnotation: "/a\nb"}, want: "(annotation)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			pod := newPod("web-0", tt.annotations)
			if tt.change != nil {
				tt.change(pod)
			}
			targets := targetsOf(pod, nil)
			if got := summary(targets); got != tt.want {
				t.Errorf("got %q, want %q", got, tt.want)
			}
			ids := map[string]bool{}
			for _, target := range targets {
				if target.Namespace != "ns" || target.Pod != "web-0" || target.Terminating || ids[target.ID] {
					t.Errorf("the target is %+v, its ID unique: %t", target, !ids[target.ID])
				}
				ids[target.ID] = true
			}
		})
	}
}

func TestAnnotationMessages(t *testing.T) {
	for _, tt := range []struct{ annotation, value string }{
		{portAnnotation, "80,http"}, {schemeAnnotation, "ftp"}, {pathAnnotation, "/%zz"}, {pathAnnotation, "%zz"},
	} {
		var said bool
		for _, target := range targetsOf(newPod("web-0", map[string]string{tt.annotation: tt.value}), nil) {
			if target.Problem != nil {
				said = true
				if got, want := target.Problem.Err.Error(), "annotation "+tt.annotation+` is "`+tt.value+`": want `; !strings.HasPrefix(got, want) {
					t.Errorf("message is %q, want %q", got, want)
				}
			}
		}
		if !said {
			t.Errorf("%s=%s is taken", tt.annotation, tt.value)
		}
	}
}

func TestTerminating(t *testing.T) {
	pod := newPod("web-0", nil)
	pod.DeletionTimestamp = &metav1.Time{}
	targets := targetsOf(pod, nil)
	if len(targets) != 1 || !targets[0].Terminating {
		t.Errorf("got %v, want a target that is terminating", targets)
	}
}

// TestIDs wants the ID of a target to change with whatever makes it another one.
func TestIDs(t *testing.T) {
	id := func(name string, annotations map[string]string) string {
		return targetsOf(newPod(name, annotations), nil)[0].ID
	}
	base := id("web-0", nil)
	if again := id("web-0", nil); again != base {
		t.Errorf("ID is %q and then %q", base, again)
	}
	for name, other := range map[string]string{
		"pod":  id("web-1", nil),
		"port": id("web-0", map[string]string{portAnnotation: "81"}),
		"path": id("web-0", map[string]string{pathAnnotation: "/other"}),
	} {
		if other == base {
			t.Errorf("another %s has the same ID %q", name, base)
		}
	}
}
