package discovery

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// newPod returns a running pod with the annotation prometheus.io/scrape: "true" and the
// given ones. An empty value removes an annotation.
func newPod(name string, annotations map[string]string) *corev1.Pod {
	all := map[string]string{scrapeAnnotation: "true"}
	maps.Copy(all, annotations)
	maps.DeleteFunc(all, func(_, value string) bool { return value == "" })
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ns", UID: types.UID("uid-" + name), Annotations: all},
		Status:     corev1.PodStatus{PodIP: "10.0.0.1", Phase: corev1.PodRunning},
	}
}

// targetsOf returns the targets that a pod declares by annotations.
func targetsOf(pod *corev1.Pod, rules []LabelRule) []*target.Target {
	return Annotations("app=web", rules).targetsOf(pod)
}

// summary returns the URL of each target, or the reason why it has none.
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
		{name: "lowest and highest", annotations: map[string]string{portAnnotation: "1,65535"}, want: "http://10.0.0.1:1/metrics http://10.0.0.1:65535/metrics"},
		{name: "spaces", annotations: map[string]string{portAnnotation: " 9090 , 9091"}, want: "http://10.0.0.1:9090/metrics http://10.0.0.1:9091/metrics"},
		{name: "the same port twice", annotations: map[string]string{portAnnotation: "9090, 9090"}, want: "http://10.0.0.1:9090/metrics"},
		{name: "port 0", annotations: map[string]string{portAnnotation: "0"}, want: "(annotation)"},
		{name: "port 65536", annotations: map[string]string{portAnnotation: "65536"}, want: "(annotation)"},
		{name: "port by name", annotations: map[string]string{portAnnotation: "http"}, want: "(annotation)"},
		{name: "port with a sign", annotations: map[string]string{portAnnotation: "+80"}, want: "(annotation)"},
		{name: "port with a leading zero", annotations: map[string]string{portAnnotation: "080"}, want: "http://10.0.0.1:80/metrics"},
		{name: "the same port twice, with leading zeros", annotations: map[string]string{portAnnotation: "80,080, 0080,81"}, want: "http://10.0.0.1:80/metrics http://10.0.0.1:81/metrics"},
		{name: "port 0 with leading zeros", annotations: map[string]string{portAnnotation: "000"}, want: "(annotation)"},
		{name: "no port", annotations: map[string]string{portAnnotation: " "}, want: "(annotation)"},
		{name: "an invalid list results in one target", annotations: map[string]string{portAnnotation: "9090,x,9091,y"}, want: "(annotation)"},
		{name: "trailing comma", annotations: map[string]string{portAnnotation: "9090,"}, want: "(annotation)"},
		{name: "only a comma", annotations: map[string]string{portAnnotation: ","}, want: "(annotation)"},

		{name: "https", annotations: map[string]string{schemeAnnotation: "https"}, want: "https://10.0.0.1:80/metrics"},
		{name: "https with spaces", annotations: map[string]string{schemeAnnotation: " https\n"}, want: "https://10.0.0.1:80/metrics"},
		{name: "a blank scheme", annotations: map[string]string{schemeAnnotation: " "}, want: "http://10.0.0.1:80/metrics"},
		{name: "HTTPS", annotations: map[string]string{schemeAnnotation: "HTTPS"}, want: "(annotation)"},
		{name: "ftp", annotations: map[string]string{schemeAnnotation: "ftp"}, want: "(annotation)"},

		{name: "a path", annotations: map[string]string{pathAnnotation: "/a/b"}, want: "http://10.0.0.1:80/a/b"},
		{name: "a path with spaces", annotations: map[string]string{pathAnnotation: " /a/b\n"}, want: "http://10.0.0.1:80/a/b"},
		{name: "a path without slash, with spaces", annotations: map[string]string{pathAnnotation: "\ta "}, want: "http://10.0.0.1:80/a"},
		{name: "a blank path", annotations: map[string]string{pathAnnotation: " "}, want: "http://10.0.0.1:80/metrics"},
		{name: "a path without slash", annotations: map[string]string{pathAnnotation: "a"}, want: "http://10.0.0.1:80/a"},
		{name: "a query", annotations: map[string]string{pathAnnotation: "/federate?match[]={job=\"a\"}&x=1"}, want: `http://10.0.0.1:80/federate?match[]={job="a"}&x=1`},
		{name: "a query without slash", annotations: map[string]string{pathAnnotation: "m?x=%20"}, want: "http://10.0.0.1:80/m?x=%20"},
		{name: "a path is never a host", annotations: map[string]string{pathAnnotation: "//evil:1/x"}, want: "http://10.0.0.1:80//evil:1/x"},
		{name: "a path is never a URL", annotations: map[string]string{pathAnnotation: "http://evil/x"}, want: "http://10.0.0.1:80/http://evil/x"},
		{name: "a path is never a user", annotations: map[string]string{pathAnnotation: "@evil/x"}, want: "http://10.0.0.1:80/@evil/x"},
		{name: "a blank in a path", annotations: map[string]string{pathAnnotation: "/a b"}, want: "http://10.0.0.1:80/a%20b"},
		{name: "blanks in a query", annotations: map[string]string{pathAnnotation: "/a?x=1  2&y=%20+"}, want: "http://10.0.0.1:80/a?x=1%20%202&y=%20+"},
		{name: "UTF-8 in a query", annotations: map[string]string{pathAnnotation: "/é?x=é"}, want: "http://10.0.0.1:80/%C3%A9?x=%C3%A9"},
		{name: "invalid UTF-8 in a query", annotations: map[string]string{pathAnnotation: "/a?x=\xff"}, want: "http://10.0.0.1:80/a?x=%FF"},
		{name: "a fragment", annotations: map[string]string{pathAnnotation: "/a#b"}, want: "http://10.0.0.1:80/a%23b"},
		{name: "a fragment in a query", annotations: map[string]string{pathAnnotation: "/a?b#c"}, want: "http://10.0.0.1:80/a?b%23c"},
		{name: "an injected header", annotations: map[string]string{pathAnnotation: "/a?b HTTP/1.1\r\nX-Evil: 1"}, want: "(annotation)"},
		{name: "a tab in a query", annotations: map[string]string{pathAnnotation: "/a?b\tc"}, want: "(annotation)"},
		{name: "as long a path as allowed", annotations: map[string]string{pathAnnotation: "/" + strings.Repeat("x", 2047)}, want: "http://10.0.0.1:80/" + strings.Repeat("x", 2047)},
		{name: "too long a path", annotations: map[string]string{pathAnnotation: "/" + strings.Repeat("x", 2048)}, want: "(annotation)"},
		{name: "too long a path after escaping", annotations: map[string]string{pathAnnotation: "/" + strings.Repeat("é", 400)}, want: "(annotation)"},
		{name: "too long a query after escaping", annotations: map[string]string{pathAnnotation: "/?" + strings.Repeat("é", 400)}, want: "(annotation)"},
		{name: "too long a list of ports", annotations: map[string]string{portAnnotation: strings.Repeat(" ", 1023) + "80"}, want: "(annotation)"},
		{name: "too long a scheme", annotations: map[string]string{schemeAnnotation: strings.Repeat(" ", 3000) + "https"}, want: "(annotation)"},
		{name: "an invalid escape", annotations: map[string]string{pathAnnotation: "/%zz"}, want: "(annotation)"},
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
					t.Errorf("got target %+v, with a unique ID: %t", target, !ids[target.ID])
				}
				ids[target.ID] = true
			}
		})
	}
}

// TestMaxPorts checks the maximum number of targets of a pod. A pod with more ports has one
// target, with a problem that names the limit.
func TestMaxPorts(t *testing.T) {
	list := func(n int) string {
		ports := make([]string, n)
		for i := range ports {
			ports[i] = fmt.Sprint(1000 + i)
		}
		return strings.Join(ports, ",")
	}
	for _, tt := range []struct {
		name, ports string
		want        int
		wantProblem bool
	}{
		{"as many as allowed", list(32), 32, false},
		{"one too many", list(33), 1, true},
		{"far too many", list(60000), 1, true},
		{"one too many, all the same", strings.Repeat("80,", 32) + "80", 1, true},
		{"as many as allowed, all the same", strings.Repeat("80,", 31) + "80", 1, false},
	} {
		targets := targetsOf(newPod("web-0", map[string]string{portAnnotation: tt.ports}), nil)
		if len(targets) != tt.want {
			t.Fatalf("%s: got %d targets, want %d", tt.name, len(targets), tt.want)
		}
		problem := targets[0].Problem
		if (problem != nil) != tt.wantProblem {
			t.Errorf("%s: got problem %+v, want one: %t", tt.name, problem, tt.wantProblem)
		}
		if problem != nil && (problem.Reason != target.Annotation || !strings.Contains(problem.Err.Error(), "at most 32") || len(problem.Err.Error()) > 300) {
			t.Errorf("%s: got problem %s: %v, want a short message with the limit", tt.name, problem.Reason, problem.Err)
		}
	}
}

func TestAnnotationMessages(t *testing.T) {
	for _, tt := range []struct{ annotation, value string }{
		{portAnnotation, "80,http"}, {schemeAnnotation, "ftp"}, {pathAnnotation, "/%zz"}, {pathAnnotation, "%zz"},
	} {
		var refused bool
		for _, target := range targetsOf(newPod("web-0", map[string]string{tt.annotation: tt.value}), nil) {
			if target.Problem != nil {
				refused = true
				if got, want := target.Problem.Err.Error(), "annotation "+tt.annotation+` is "`+tt.value+`": expected `; !strings.HasPrefix(got, want) {
					t.Errorf("got message %q, want %q", got, want)
				}
			}
		}
		if !refused {
			t.Errorf("%s=%s was accepted", tt.annotation, tt.value)
		}
	}
	for _, annotation := range []string{portAnnotation, schemeAnnotation, pathAnnotation} {
		problem := targetsOf(newPod("web-0", map[string]string{annotation: strings.Repeat("%", 1<<18)}), nil)[0].Problem
		if problem == nil || len(problem.Err.Error()) > 300 || !strings.Contains(problem.Err.Error(), strings.Repeat("%", 80)+`": expected `) {
			t.Errorf("%s: got problem %.400v, want the first 80 bytes of the value", annotation, problem)
		}
	}
}

// TestShortMessages checks that a message contains less than 300 bytes of an annotation,
// whatever its bytes, and whether or not the pod has been slimmed.
func TestShortMessages(t *testing.T) {
	rules := []LabelRule{{Name: "team", Source: "annotation", Key: "team"}}
	v := newPods(t, func(o *Options) { o.Dialects = []Dialect{Annotations("app=web", rules)} }).views[0]
	for _, annotation := range []string{portAnnotation, schemeAnnotation, pathAnnotation, "team"} {
		for _, text := range []string{"x", "\x00", "\xff", "\u2028", "\U000e0001", "\U0001f600", "é"} {
			pod := newPod("web-0", map[string]string{annotation: strings.Repeat(text, 1<<16)})
			for _, pod := range []*corev1.Pod{pod, v.slim(pod)} {
				problem := targetsOf(pod, rules)[0].Problem
				if problem == nil || problem.Reason != target.Annotation || len(problem.Err.Error()) > 500 {
					t.Errorf("%s of %q: got problem %.600v, want annotation, with a short message", annotation, text, problem)
				}
			}
		}
	}
}

// TestEscapedRequestLine checks the request line that a pod receives.
func TestEscapedRequestLine(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer listener.Close()
	lines := make(chan string)
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			line, _ := bufio.NewReader(conn).ReadString('\n')
			_, _ = io.WriteString(conn, "HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n")
			_ = conn.Close()
			lines <- line
		}
	}()
	_, port, err := net.SplitHostPort(listener.Addr().String())
	must(t, err)
	for path, want := range map[string]string{
		"/a b?c d&e=\"f g\"": `/a%20b?c%20d&e="f%20g"`,
		"/a?b HTTP/1.0":      "/a?b%20HTTP/1.0",
		"/a?é#\xff":          "/a?%C3%A9%23%FF",
	} {
		pod := newPod("web-0", map[string]string{portAnnotation: port, pathAnnotation: path})
		pod.Status.PodIP = "127.0.0.1"
		resp, err := http.Get(targetsOf(pod, nil)[0].URL)
		must(t, err)
		must(t, resp.Body.Close())
		if got := <-lines; got != "GET "+want+" HTTP/1.1\r\n" {
			t.Errorf("%q: got request line %q, want %s", path, got, want)
		}
	}
}

func TestTerminating(t *testing.T) {
	pod := newPod("web-0", nil)
	pod.DeletionTimestamp = &metav1.Time{}
	targets := targetsOf(pod, nil)
	if len(targets) != 1 || !targets[0].Terminating {
		t.Errorf("got %v, want one terminating target", targets)
	}
}

// TestIDs checks that a different pod, port or path results in a different target ID.
func TestIDs(t *testing.T) {
	id := func(name string, annotations map[string]string) string {
		return targetsOf(newPod(name, annotations), nil)[0].ID
	}
	base := id("web-0", nil)
	if again := id("web-0", nil); again != base {
		t.Errorf("got ID %q and then %q", base, again)
	}
	for name, other := range map[string]string{
		"pod":  id("web-1", nil),
		"port": id("web-0", map[string]string{portAnnotation: "81"}),
		"path": id("web-0", map[string]string{pathAnnotation: "/other"}),
	} {
		if other == base {
			t.Errorf("a different %s has the same ID %q", name, base)
		}
	}
	if got, want := id("web-0", map[string]string{portAnnotation: "081"}), id("web-0", map[string]string{portAnnotation: "81"}); got != want {
		t.Errorf("the same port with a leading zero has the ID %q, want %q", got, want)
	}
	for _, text := range []string{"x", "é", "\xff"} {
		if got := id("web-0", map[string]string{pathAnnotation: strings.Repeat(text, 1<<20)}); len(got) > 300 {
			t.Errorf("a long path results in an ID of %d bytes", len(got))
		}
	}
}
