package discovery

import (
	"fmt"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"

	corev1 "k8s.io/api/core/v1"

	"github.com/canonical/metrics-k8s-proxy/proxy/target"
)

// largest is the size of all annotations of a pod that an API server accepts.
const largest = 256 << 10

// TestLargePods checks that a page of a list that is too large is read no further than the
// limit, and that smaller pages find all pods.
func TestLargePods(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := fakeAPI{listForbidden: true}
		p, log := api.start(t, nil)
		var want []string
		for i := range 60 {
			annotations := map[string]string{}
			if i >= 20 && i < 40 {
				annotations["other"] = strings.Repeat("x", largest-100)
			}
			pod := newPod(fmt.Sprintf("pod-%02d", i), annotations)
			api.put(pod)
			want = append(want, pod.Name+" http://10.0.0.1:80/metrics")
		}
		api.set(func() { api.listForbidden, api.requests = false, nil })
		sleepUntilReady(t, p)
		wantTargets(t, p, want...)
		var pages []int
		for _, u := range api.requests {
			if kindOf(u) == "list" {
				limit, _ := strconv.Atoi(u.Query().Get("limit"))
				pages = append(pages, limit)
			}
		}
		// 31 pods with 11 large ones do not fit, and 7 large ones take more than half a page.
		if got, want := fmt.Sprint(pages[:6]), "[250 125 62 31 15 30]"; got != want {
			t.Errorf("the pages were %v, want them to begin with %s", pages, want)
		}
		if last := pages[len(pages)-1]; len(pages) > 20 || last < 14 {
			t.Errorf("the pages were %v, want them to grow again", pages)
		}
		if lines := log.with("level=ERROR"); len(lines) != 1 {
			t.Errorf("got %d errors, want only that pods could not be listed at first: %q", len(lines), lines)
		}
	})
}

// TestLargestPod checks that a pod that is larger than a page is found.
func TestLargestPod(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		api := fakeAPI{listForbidden: true}
		p, _ := api.start(t, nil)
		api.put(newPod("a", nil), newPod("b", map[string]string{"other": strings.Repeat("x", maxPageBytes)}), newPod("c", nil))
		api.set(func() { api.listForbidden = false })
		sleepUntilReady(t, p)
		wantTargets(t, p, "a http://10.0.0.1:80/metrics", "b http://10.0.0.1:80/metrics", "c http://10.0.0.1:80/metrics")
	})
}

// hostilePod has as large annotations as an API server accepts, each of which is needed.
func hostilePod(name string) *corev1.Pod {
	var ports []string
	for i := range maxPorts {
		ports = append(ports, fmt.Sprint(1000+i))
	}
	return newPod(name, map[string]string{
		portAnnotation: strings.Join(ports, ","),
		pathAnnotation: "/" + strings.Repeat("x", largest/2),
		"team":         strings.Repeat("y", largest/2),
	})
}

// TestMemoryOfHostilePods checks how much memory slim pods and targets keep.
func TestMemoryOfHostilePods(t *testing.T) {
	const pods, mostPerPod, mostPerTarget = 100, 16 << 10, 6 << 10
	rules := []LabelRule{{"pod", "pod", ""}, {"team", "annotation", "team"}}
	p := newPods(t, func(o *Options) { o.Dialects = []Dialect{Annotations("app=web", rules)} })
	v := p.views[0]
	for name, change := range map[string]func(*corev1.Pod){
		"too long": func(*corev1.Pod) {},
		"as long as allowed": func(pod *corev1.Pod) {
			pod.Annotations[pathAnnotation] = pod.Annotations[pathAnnotation][:maxPath]
			pod.Annotations["team"] = pod.Annotations["team"][:maxValue]
		},
	} {
		before := heap()
		var slim []any
		for i := range pods {
			pod := hostilePod(fmt.Sprint("pod-", i))
			change(pod)
			slim = append(slim, v.slim(pod))
		}
		if got := (heap() - before) / pods; got > mostPerPod {
			t.Errorf("%s: a slim pod takes %d bytes, want at most %d", name, got, mostPerPod)
		}
		must(t, v.Replace(slim, "1"))
		slim = nil
		targets := p.Targets()
		if len(targets) != pods*maxPorts {
			t.Fatalf("%s: got %d targets", name, len(targets))
		}
		if got := (heap() - before) / len(targets); got > mostPerTarget {
			t.Errorf("%s: a target takes %d bytes, want at most %d", name, got, mostPerTarget)
		}
		runtime.KeepAlive(targets)
		must(t, v.Replace(nil, "2"))
	}
}

// heap returns the size of the live heap.
func heap() int {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return int(m.HeapAlloc)
}

// TestManyContainerPorts checks that the ports of containers are bounded, in a list as well
// as in a watch.
func TestManyContainerPorts(t *testing.T) {
	p := newPods(t, func(o *Options) {
		o.Dialects = []Dialect{Annotations("app=web", []LabelRule{{"container", "container", ""}})}
	})
	v := p.views[0]
	pod := newPod("a", map[string]string{portAnnotation: "1,600,1000,1001"})
	declare := func(first, last int32) (ports []corev1.ContainerPort) {
		for port := first; port <= last; port++ {
			ports = append(ports, corev1.ContainerPort{Name: "a-port", ContainerPort: port, HostIP: "10.0.0.1"})
		}
		return ports
	}
	pod.Spec.Containers = []corev1.Container{{Name: "main", Ports: declare(1, 500)}, {Name: "no-ports"}}
	pod.Spec.InitContainers = []corev1.Container{{Name: "sidecar", Ports: declare(501, 50_000)}, {Name: "other", Ports: declare(1, 2)}}
	if got := v.slim(pod).Size(); got > 16<<10 {
		t.Errorf("the slim pod takes %d bytes", got)
	}
	for name, change := range map[string]func() error{
		"list":  func() error { return v.Replace([]any{v.slim(pod)}, "1") },
		"watch": func() error { return v.Update(pod) },
	} {
		must(t, v.Replace(nil, "1"))
		must(t, change())
		var got []string
		for _, target := range p.Targets() {
			got = append(got, label(target, portLabel)+"="+label(target, "container"))
		}
		if want := "[1=main 1000=sidecar 1001= 600=sidecar]"; fmt.Sprint(got) != want {
			t.Errorf("%s: got containers %v, want %s", name, got, want)
		}
	}
}

func label(t *target.Target, name string) string {
	for _, l := range t.Labels {
		if l.Name == name {
			return l.Value
		}
	}
	return ""
}
